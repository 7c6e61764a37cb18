//! What has changed in a chat.
