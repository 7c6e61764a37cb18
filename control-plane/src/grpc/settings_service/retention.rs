//! How long chats and debug data are kept: decode, name the use case, encode.

use chatplane_proto::chat::v1 as proto;

use crate::{
    app::{App, Error, FieldViolation, Retention, RetentionDays},
    authz::Actor,
    grpc::convert,
};

/// Nothing is kept for longer than a hundred years but for ever.
const DAYS_MAX: i32 = 36_500;

pub(super) async fn get_retention(app: &App, actor: &Actor) -> Result<proto::GetRetentionResponse, Error> {
    let retention = Some(retention(app.get_retention(actor).await?));
    Ok(proto::GetRetentionResponse { retention })
}

pub(super) async fn update_retention(
    app: &App,
    actor: &Actor,
    request: proto::UpdateRetentionRequest,
) -> Result<proto::UpdateRetentionResponse, Error> {
    check(&request)?;
    let days = RetentionDays {
        auto_archive: request.auto_archive_days,
        delete_archived: request.delete_archived_days,
        delete_debug: request.delete_debug_days,
    };
    let retention = Some(retention(app.update_retention(actor, days, request.expected_version).await?));
    Ok(proto::UpdateRetentionResponse { retention })
}

fn check(request: &proto::UpdateRetentionRequest) -> Result<(), Error> {
    let days = [
        ("auto_archive_days", request.auto_archive_days),
        ("delete_archived_days", request.delete_archived_days),
        ("delete_debug_days", request.delete_debug_days),
    ];
    let mut violations: Vec<FieldViolation> = days
        .into_iter()
        .filter(|(_, days)| !(0..=DAYS_MAX).contains(days))
        .map(|(field, _)| FieldViolation {
            field: field.to_owned(),
            description: format!("it is 0 to {DAYS_MAX} days; 0 for ever"),
        })
        .collect();
    if request.expected_version.is_some_and(|version| version < 0) {
        violations.push(FieldViolation {
            field: "expected_version".to_owned(),
            description: "it is the version that you have read, 0 for none".to_owned(),
        });
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::FieldInvalid(violations)) }
}

fn retention(retention: Retention) -> proto::Retention {
    let Retention { days, version, update_time } = retention;
    proto::Retention {
        auto_archive_days: days.auto_archive,
        delete_archived_days: days.delete_archived,
        delete_debug_days: days.delete_debug,
        version,
        update_time: update_time.map(convert::timestamp),
    }
}
