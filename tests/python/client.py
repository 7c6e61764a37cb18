"""A client that knows the contract by server reflection alone, as a program in any language could.

It reads the address and the token from the environment, prints one JSON line when it has resumed its watch,
and one with what it found at the end; tests/python_client.rs compares them.
"""

import json
import os
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

SERVICE = "chatplane.chat.v1.ChatService"
# Longer than anything takes on a busy machine.
DEADLINE_SECONDS = 60


class Client:
    """Calls methods by name, with messages made from what reflection says."""

    def __init__(self, channel, token):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.service = self.pool.FindServiceByName(SERVICE)
        self.metadata = [("authorization", f"Bearer {token}")]

    def call(self, method, **fields):
        described = self.service.methods_by_name[method]
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        response = message_factory.GetMessageClass(described.output_type)
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        send = kind(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return send(request, metadata=self.metadata, timeout=DEADLINE_SECONDS)

    def refusal(self, method, **fields):
        """The code, the reason and the fields of a call that is refused."""
        try:
            self.call(method, **fields)
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            for detail in status.details:
                detail.Unpack(info)
                detail.Unpack(bad)
            return [error.code().name, info.domain, info.reason, [field.field for field in bad.field_violations]]
        return None

    def name(self, enum, number):
        return self.pool.FindEnumTypeByName(f"chatplane.chat.v1.{enum}").values_by_number[number].name


class Fold:
    """What a watcher knows of a chat."""

    def __init__(self):
        self.cursor = ""
        self.messages = {}
        self.state = None
        # The bytes of the parts of each live stream.
        self.previews = {}
        self.resets = 0

    def apply(self, event):
        self.cursor = event.cursor
        kind = event.WhichOneof("event")
        value = getattr(event, kind) if kind else None
        if kind == "message":
            self.messages[value.message_id] = value
            newer = [stream for stream in self.previews if stream[0] >= value.revision]
            self.previews = {stream: self.previews[stream] for stream in newer}
        elif kind == "state":
            self.state = value
        elif kind == "preview_reset":
            self.resets += 1
            if value.HasField("stream"):
                del self.previews[key(value.stream)]
            else:
                self.previews.clear()
        elif kind == "part_started":
            parts = self.previews.setdefault(key(value.stream), [])
            assert value.part == len(parts), event
            parts.append(b"")
        elif kind == "part_append":
            parts = self.previews[key(value.stream)]
            assert value.offset == len(parts[value.part]), event
            parts[value.part] += value.data

    def live(self):
        return b"".join(part for parts in self.previews.values() for part in parts).decode()


def key(stream):
    return (stream.base_version, stream.index)


def watch_until(client, fold, chat_id, holds):
    """Watches from where the fold is until something holds, and leaves in the middle of the stream."""
    stream = client.call("WatchChat", chat_id=chat_id, cursor=fold.cursor)
    for event in stream:
        fold.apply(event)
        if holds():
            stream.cancel()
            return
    raise AssertionError("the stream has ended")


def listed(client, chat_id):
    """All messages, a page of one at a time."""
    messages, before_id, has_more = {}, 0, True
    while has_more:
        page = client.call("ListMessages", chat_id=chat_id, page_size=1, before_id=before_id)
        messages.update((message.message_id, message) for message in page.messages)
        before_id, has_more = page.messages[-1].message_id, page.has_more
    return messages


def words(text):
    return [{"text": {"text": text}}]


def main():
    with grpc.insecure_channel(os.environ["CHATPLANE_ADDRESS"]) as channel:
        client = Client(channel, os.environ["CHATPLANE_TOKEN"])
        fold = Fold()

        def rests_after(version):
            return (
                fold.state is not None
                and client.name("ChatState", fold.state.state) == "CHAT_STATE_WAITING"
                and fold.state.snapshot_version > version
            )

        creation = {"request_id": str(uuid.uuid4()), "parts": words("Count."), "labels": {"made": "by python"}}
        created = client.call("CreateChat", **creation)
        created_again = client.call("CreateChat", **creation)
        chat_id = created.chat.chat_id

        # The model holds its answer after the first word until it is told that the watch was resumed.
        watch_until(client, fold, chat_id, lambda: fold.live() == "one ")
        resets = fold.resets
        watch_until(client, fold, chat_id, lambda: fold.resets > resets and fold.live() == "one ")
        print(json.dumps({"resumed": True}), flush=True)
        watch_until(client, fold, chat_id, lambda: rests_after(0))

        sending = {"chat_id": chat_id, "request_id": str(uuid.uuid4()), "parts": words("Again.")}
        sent = client.call("SendMessage", **sending)
        sent_again = client.call("SendMessage", **sending)
        watch_until(client, fold, chat_id, lambda: rests_after(sent.chat.snapshot_version))

        messages = [fold.messages[message_id] for message_id in sorted(fold.messages)]
        found = {
            "is_listed": SERVICE in client.database.get_services(),
            "repeats": [created == created_again, sent == sent_again],
            "labels": dict(created.chat.labels),
            "messages": [
                [client.name("Role", message.role), "".join(part.text.text for part in message.parts)]
                for message in messages
            ],
            "fold_is_list": fold.messages == listed(client, chat_id),
            "live_at_rest": fold.live(),
            "refusals": {
                "unknown chat": client.refusal("GetChat", chat_id=str(uuid.uuid4())),
                "no parts": client.refusal("CreateChat"),
                "id used again": client.refusal("SendMessage", **{**sending, "parts": words("Else.")}),
                "wrong token": Client(channel, "nonsense").refusal("GetChat", chat_id=chat_id),
            },
        }
        print(json.dumps(found), flush=True)


main()
