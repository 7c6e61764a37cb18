//! `chatplane admin`: creates what the API cannot create yet, straight in the database.

use std::io::{self, Write};

use chatplane_control_plane::admin::{self, AdminError, TokenKind};

use crate::{
    arguments::{AdminCommand, Bearer},
    exit::{Exit, complain, say},
};

/// Runs the command; what was created goes to `output` alone.
pub(crate) async fn admin(command: AdminCommand, output: &mut impl Write) -> Exit {
    let created = match create(command).await {
        Ok(created) => created,
        Err(error) => return complain("nothing was created", &error),
    };
    match print(output, &created.printed) {
        Ok(()) => {
            say(created.words);
            Exit::Done
        }
        Err(error) => complain("it was created, but could not be printed", &error),
    }
}

struct Created {
    printed: String,
    words: &'static str,
}

async fn create(command: AdminCommand) -> Result<Created, AdminError> {
    match command {
        AdminCommand::CreateUser { database, name, owner } => {
            let user = admin::connect(&database.url).await?.create_user(&name, owner).await?;
            Ok(Created {
                printed: user.to_string(),
                words: "This is the user's id. Give them a token with `chatplane admin create-token --user ID`.",
            })
        }
        AdminCommand::CreateWorkspace { database, user, name } => {
            let workspace = admin::connect(&database.url).await?.create_workspace(user, &name).await?;
            Ok(Created {
                printed: workspace.to_string(),
                words: "This is the workspace's id. Give its agent a token with \
                        `chatplane admin create-token --workspace ID`.",
            })
        }
        AdminCommand::CreateToken { database, bearer } => {
            let Some((kind, words)) = kind(&bearer) else {
                unreachable!("the command line demands exactly one bearer")
            };
            let token = admin::connect(&database.url).await?.create_token(kind).await?;
            Ok(Created { printed: token, words })
        }
    }
}

fn kind(bearer: &Bearer) -> Option<(TokenKind, &'static str)> {
    const USER: &str = "This token is not shown again. Clients send it as `authorization: Bearer TOKEN`.";
    const WORKER: &str = "This token is not shown again. Workers take it from CHATPLANE_WORKER_TOKEN or \
                          --token-file.";
    const AGENT: &str = "This token is not shown again. The workspace's agent takes it from \
                         CHATPLANE_WORKSPACE_TOKEN or --token-file.";
    match (bearer.user, bearer.worker, bearer.workspace) {
        (Some(user), _, _) => Some((TokenKind::User(user), USER)),
        (None, true, _) => Some((TokenKind::Worker, WORKER)),
        (None, false, Some(workspace)) => Some((TokenKind::WorkspaceAgent(workspace), AGENT)),
        (None, false, None) => None,
    }
}

fn print(output: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(output, "{line}")?;
    output.flush()
}
