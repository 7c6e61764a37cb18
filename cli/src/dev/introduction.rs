//! What is said once everything runs: what the agent may do, and how to call the control plane.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
};

use chatplane_domain::WorkspaceId;

use crate::dev::{Options, places::Places, stack::Ready};

/// Everything there is to say.
pub(crate) struct Introduction {
    workspace: PathBuf,
    address: SocketAddr,
    workspace_id: WorkspaceId,
    user_token: String,
    user_token_file: PathBuf,
    rights: Rights,
}

/// What the agent may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    Read,
    ReadOutside,
    Everything,
    EverythingOutside,
}

impl Introduction {
    pub(crate) fn new(options: &Options, places: &Places, ready: &Ready) -> Self {
        let rights = match (options.read_only, options.allow_outside) {
            (true, false) => Rights::Read,
            (true, true) => Rights::ReadOutside,
            (false, false) => Rights::Everything,
            (false, true) => Rights::EverythingOutside,
        };
        Self {
            workspace: places.workspace.clone(),
            address: ready.address,
            workspace_id: ready.identity.workspace_id,
            user_token: ready.user_token.clone(),
            user_token_file: ready.identity.user_token_file.clone(),
            rights,
        }
    }

    /// What the agent may do, in one plain sentence.
    pub(crate) fn rights(&self) -> String {
        let dir = self.workspace.display();
        match self.rights {
            Rights::Read => {
                format!(
                    "The agent may read the files in {dir}; it may not write, nor run commands (--read-only)."
                )
            }
            Rights::ReadOutside => format!(
                "The agent works in {dir} and may read every file that you may read; it may not write, nor run \
                 commands (--read-only)."
            ),
            Rights::Everything => format!(
                "The agent may change files and run commands in {dir}, with your rights (--read-only forbids both)."
            ),
            Rights::EverythingOutside => format!(
                "The agent works in {dir}, and may read and change every file that you may, also outside of it \
                 (--allow-outside), and run commands (--read-only forbids changes and commands)."
            ),
        }
    }

    /// For somebody who will chat here.
    pub(crate) fn write_for_chat(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{}", self.rights())?;
        writeln!(output, "chatplane listens on {}, as long as this chat is open.", self.address)?;
        self.write_calls(output)?;
        writeln!(output, "\nWrite to the agent; /help shows more, Ctrl-D leaves.")?;
        output.flush()
    }

    /// For somebody who will call the control plane.
    pub(crate) fn write_for_serving(&self, output: &mut impl Write) -> io::Result<()> {
        writeln!(output, "{}", self.rights())?;
        writeln!(output, "chatplane serves on {}, until it is stopped.", self.address)?;
        self.write_calls(output)?;
        output.flush()
    }

    /// The token, and lines to paste into a shell.
    fn write_calls(&self, output: &mut impl Write) -> io::Result<()> {
        let Self { address, workspace_id, user_token, .. } = self;
        let token_file = quoted(&self.user_token_file.to_string_lossy());
        writeln!(output, "The token is {user_token}. Create a chat, and watch it:\n")?;
        writeln!(output, "  token=$(cat {token_file})")?;
        writeln!(
            output,
            "  grpcurl -plaintext -H \"authorization: Bearer $token\" -d '{{\"workspace_id\":\"{workspace_id}\",\
             \"parts\":[{{\"text\":{{\"text\":\"What is in this directory?\"}}}}]}}' \
             {address} chatplane.chat.v1.ChatService/CreateChat"
        )?;
        writeln!(
            output,
            "  grpcurl -plaintext -H \"authorization: Bearer $token\" -d '{{\"chat_id\":\"CHAT_ID\"}}' \
             {address} chatplane.chat.v1.ChatService/WatchChat"
        )?;
        writeln!(output, "\nOr chat in another terminal:\n")?;
        writeln!(
            output,
            "  chatplane chat --server http://{address} --token-file {token_file} --workspace {workspace_id}"
        )
    }
}

/// One word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction(rights: Rights) -> Introduction {
        Introduction {
            workspace: "/home/ada/garden".into(),
            address: ([127, 0, 0, 1], 7400).into(),
            workspace_id: WorkspaceId(uuid::Uuid::nil()),
            user_token: "cp_token".to_owned(),
            user_token_file: "/home/ada/it's/user-token".into(),
            rights,
        }
    }

    #[test]
    fn what_the_agent_may_do_is_said_plainly() {
        assert_eq!(
            introduction(Rights::Everything).rights(),
            "The agent may change files and run commands in /home/ada/garden, with your rights \
             (--read-only forbids both)."
        );
        assert!(introduction(Rights::Read).rights().contains("may not write, nor run commands"));
        assert!(introduction(Rights::ReadOutside).rights().contains("every file that you may read"));
        let outside = introduction(Rights::EverythingOutside).rights();
        assert!(outside.contains("change every file that you may, also outside of it"), "{outside}");
    }

    #[test]
    fn address_token_and_lines_to_paste_are_printed() {
        let mut output = Vec::new();

        introduction(Rights::Everything).write_for_serving(&mut output).unwrap();

        let text = String::from_utf8(output).unwrap();
        assert!(text.contains("chatplane serves on 127.0.0.1:7400"), "{text}");
        assert!(text.contains("The token is cp_token."), "{text}");
        assert!(text.contains("token=$(cat '/home/ada/it'\\''s/user-token')"), "{text}");
        assert_eq!(text.matches("grpcurl -plaintext").count(), 2, "{text}");
        let chat = "chatplane chat --server http://127.0.0.1:7400 --token-file '/home/ada/it'\\''s/user-token' \
                    --workspace 00000000-0000-0000-0000-000000000000";
        assert!(text.contains(chat), "{text}");
    }
}
