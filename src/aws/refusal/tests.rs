use super::*;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::metadata::ErrorMetadata;
use aws_types::SdkConfig;
use aws_types::region::Region;

const CREATE: &str = "sso:CreateAccountAssignment";

fn response(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap();
    let mut response = HttpResponse::new(status, SdkBody::from(body.to_owned()));
    for (name, value) in headers {
        response.headers_mut().insert(*name, *value);
    }
    response
}

fn answered_with(code: &str, message: &str, status: u16, body: &str) -> AwsError {
    let meta = ErrorMetadata::builder().code(code).message(message).build();
    refused(
        CREATE,
        SdkError::service_error(meta, response(status, &[], body)),
    )
}

/// The class of every error named for the calls we make, with its status.
const TABLE: &[(&str, u16, ErrorClass)] = &[
    // Identity Center
    ("ValidationException", 400, ErrorClass::Bug),
    ("ResourceNotFoundException", 400, ErrorClass::NotFound),
    ("ConflictException", 400, ErrorClass::Conflict),
    ("AccessDeniedException", 400, ErrorClass::NeedsOperator),
    ("ThrottlingException", 400, ErrorClass::Throttled),
    (
        "ServiceQuotaExceededException",
        400,
        ErrorClass::NeedsOperator,
    ),
    ("InternalServerException", 500, ErrorClass::Transient),
    // Organizations
    ("AccountNotFoundException", 400, ErrorClass::NotFound),
    ("ChildNotFoundException", 400, ErrorClass::NotFound),
    ("ParentNotFoundException", 400, ErrorClass::NotFound),
    (
        "OrganizationalUnitNotFoundException",
        400,
        ErrorClass::NotFound,
    ),
    ("TargetNotFoundException", 400, ErrorClass::NotFound),
    (
        "AWSOrganizationsNotInUseException",
        400,
        ErrorClass::NeedsOperator,
    ),
    (
        "UnsupportedAPIEndpointException",
        400,
        ErrorClass::NeedsOperator,
    ),
    ("TooManyRequestsException", 400, ErrorClass::Throttled),
    ("ConcurrentModificationException", 400, ErrorClass::Conflict),
    ("InvalidInputException", 400, ErrorClass::Bug),
    ("ServiceException", 500, ErrorClass::Transient),
    // STS and signatures
    ("AccessDenied", 403, ErrorClass::NeedsOperator),
    ("ValidationError", 400, ErrorClass::Bug),
    ("PackedPolicyTooLarge", 400, ErrorClass::NeedsOperator),
    ("RegionDisabledException", 403, ErrorClass::NeedsOperator),
    ("MalformedPolicyDocument", 400, ErrorClass::NeedsOperator),
    ("ExpiredToken", 403, ErrorClass::Unauthorised),
    ("ExpiredTokenException", 400, ErrorClass::Unauthorised),
    ("UnrecognizedClientException", 400, ErrorClass::Unauthorised),
    ("InvalidClientTokenId", 403, ErrorClass::Unauthorised),
    ("SignatureDoesNotMatch", 403, ErrorClass::Unauthorised),
    ("InvalidSignatureException", 400, ErrorClass::Unauthorised),
    ("RequestTimeTooSkewed", 403, ErrorClass::NeedsOperator),
    ("RequestExpired", 400, ErrorClass::NeedsOperator),
    ("IDPRejectedClaim", 403, ErrorClass::NeedsOperator),
    ("IDPCommunicationError", 400, ErrorClass::Transient),
    ("InvalidIdentityToken", 400, ErrorClass::Unauthorised),
    // IAM
    ("EntityAlreadyExists", 409, ErrorClass::Conflict),
    ("LimitExceeded", 409, ErrorClass::NeedsOperator),
    ("NoSuchEntity", 404, ErrorClass::NotFound),
    ("InvalidInput", 400, ErrorClass::Bug),
    ("ConcurrentModification", 409, ErrorClass::Conflict),
    ("PasswordPolicyViolation", 400, ErrorClass::NeedsOperator),
    ("EntityTemporarilyUnmodifiable", 409, ErrorClass::Conflict),
    ("PolicyNotAttachable", 400, ErrorClass::NeedsOperator),
    ("DeleteConflict", 409, ErrorClass::Conflict),
    ("ServiceFailure", 500, ErrorClass::Transient),
    ("Throttling", 400, ErrorClass::Throttled),
    // RDS
    ("DBInstanceNotFound", 404, ErrorClass::NotFound),
    ("DBClusterNotFoundFault", 404, ErrorClass::NotFound),
    ("DBProxyNotFoundFault", 404, ErrorClass::NotFound),
    ("InvalidParameterValue", 400, ErrorClass::Bug),
    ("InvalidDBInstanceState", 400, ErrorClass::Conflict),
    // Secrets Manager
    ("InvalidParameterException", 400, ErrorClass::Bug),
    ("InvalidRequestException", 400, ErrorClass::NeedsOperator),
    ("DecryptionFailure", 400, ErrorClass::NeedsOperator),
    ("InternalServiceError", 500, ErrorClass::Transient),
    ("LimitExceededException", 400, ErrorClass::NeedsOperator),
    // All
    ("RequestLimitExceeded", 503, ErrorClass::Throttled),
    ("SlowDown", 503, ErrorClass::Throttled),
    ("ServiceUnavailable", 503, ErrorClass::Transient),
    ("InternalFailure", 500, ErrorClass::Transient),
    ("RequestTimeout", 408, ErrorClass::Transient),
    ("OptInRequired", 403, ErrorClass::NeedsOperator),
    // Names nobody knows yet go by their status.
    ("NewCode", 400, ErrorClass::Bug),
    ("NewCode", 401, ErrorClass::Unauthorised),
    ("NewCode", 403, ErrorClass::NeedsOperator),
    ("NewCode", 404, ErrorClass::NotFound),
    ("NewCode", 409, ErrorClass::Conflict),
    ("NewCode", 429, ErrorClass::Throttled),
    ("NewCode", 502, ErrorClass::Transient),
    ("InvalidNewCode", 503, ErrorClass::Transient),
];

#[test]
fn every_error_has_a_class_by_its_code_and_only_the_services_own_failures_leave_the_outcome_open() {
    for (code, status, class) in TABLE {
        let error = answered_with(code, "some text", *status, "");
        assert_eq!(error.class(), *class, "{code} {status}");
        let open = *class == ErrorClass::Transient;
        assert_eq!(error.outcome_unknown(), open, "{code} {status}");
        assert_eq!(error.code(), Some(*code));
        let throttled = *class == ErrorClass::Throttled;
        assert_eq!(error.throttle().is_some(), throttled, "{code}");
    }
}

#[test]
fn the_text_never_decides_the_class() {
    for text in ["Rate exceeded", "AccessDenied", "not found", "conflict", ""] {
        for (code, status, class) in TABLE {
            assert_eq!(answered_with(code, text, *status, text).class(), *class);
        }
    }
}

#[test]
fn the_two_kinds_of_throttling_are_told_apart_where_they_can_be() {
    let throttle = |text| answered_with("ThrottlingException", text, 400, "").throttle();
    assert_eq!(throttle("Rate exceeded"), Some(Throttle::Rate));
    assert_eq!(
        throttle("There are too many requests processing. Please try again later."),
        Some(Throttle::Outstanding)
    );
    assert_eq!(throttle("Slow down"), Some(Throttle::Unclear));
    let key = r#"{"__type":"ThrottlingException","Reason":"KMS_ThrottlingException"}"#;
    let error = answered_with("ThrottlingException", "", 400, key);
    assert_eq!(error.class(), ErrorClass::Throttled);
    assert_eq!(error.throttle(), Some(Throttle::Rate));
}

#[test]
fn a_denied_call_names_the_action_its_resources_and_what_is_missing_without_it() {
    let error = answered_with(
        "AccessDeniedException",
        "User: x is not authorized to perform: sso:CreateAccountAssignment",
        400,
        "",
    );
    let hint = error.hint().unwrap();
    for part in [CREATE, "permissionSet/*", "no access can be given"] {
        assert!(hint.contains(part), "{hint}");
    }
}

#[test]
fn a_refusal_by_the_customers_key_says_what_to_do_with_the_key() {
    for (code, reason, fix) in [
        (
            "AccessDeniedException",
            "KMS_AccessDeniedException",
            "`kms:Decrypt`",
        ),
        (
            "AccessDeniedException",
            "KMS_ACCESS_DENIED",
            "`kms:Decrypt`",
        ),
        (
            "ValidationException",
            "KMS_DisabledException",
            "enable the key",
        ),
        (
            "ValidationException",
            "KMS_InvalidStateException",
            "enable the key",
        ),
        (
            "ResourceNotFoundException",
            "KMS_NotFoundException",
            "restore the key",
        ),
    ] {
        let body = format!(r#"{{"__type":"{code}","Message":"no","Reason":"{reason}"}}"#);
        let error = answered_with(code, "no", 400, &body);
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::NeedsOperator, "key_refused"),
            "{reason}"
        );
        assert!(error.hint().unwrap().contains(fix), "{:?}", error.hint());
        assert!(error.to_string().contains(reason));
    }
}

#[test]
fn what_may_hold_headers_and_tokens_is_not_taken_over() {
    const TOKEN: &str = "x-amz-security-token:IQoJb3JpZ2luX2VjE";
    for code in [
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "RequestTimeTooSkewed",
        "ExpiredToken",
        "InvalidClientTokenId",
    ] {
        let error = answered_with(code, TOKEN, 403, TOKEN);
        let shown = format!("{error} {error:?} {:?}", error.failure());
        assert!(!shown.contains("IQoJ"), "{shown}");
    }
    // A body is never taken over, whatever the error.
    let error = answered_with("ServiceFailure", "broken", 500, TOKEN);
    assert!(!format!("{error:?}").contains("IQoJ"));
    let error = refused::<ErrorMetadata>(
        CREATE,
        SdkError::response_error("cannot read", response(200, &[], TOKEN)),
    );
    assert!(!format!("{error:?}").contains("IQoJ"));
    assert!(error.outcome_unknown());
    assert_eq!(error.class(), ErrorClass::Transient);
}

#[test]
fn texts_from_outside_are_one_line_and_cut() {
    let long = format!("first\nsecond\u{1b}[31m{}", "x".repeat(100_000));
    let error = answered_with("ConflictException", &long, 400, "");
    let shown = error.to_string();
    assert!(shown.len() < 800 && !shown.contains(char::is_control));
    let error = answered_with(&"C".repeat(100_000), "x", 400, "");
    assert!(error.code().unwrap().len() < 800);
}

#[test]
fn what_was_not_answered_tells_whether_it_may_have_had_its_effect() {
    let dispatch = |error| refused::<ErrorMetadata>(CREATE, SdkError::dispatch_failure(error));
    let io = |kind: io::ErrorKind| ConnectorError::io(io::Error::from(kind).into());
    for (kind, open) in [
        (io::ErrorKind::ConnectionRefused, false),
        (io::ErrorKind::NetworkUnreachable, false),
        (io::ErrorKind::ConnectionReset, true),
        (io::ErrorKind::UnexpectedEof, true),
    ] {
        let error = dispatch(io(kind));
        assert_eq!(error.class(), ErrorClass::Transient);
        assert_eq!(error.outcome_unknown(), open, "{kind:?}");
    }
    assert!(dispatch(ConnectorError::timeout("slow".into())).outcome_unknown());
    let timeout = refused::<ErrorMetadata>(CREATE, SdkError::timeout_error("slow"));
    assert_eq!(
        (timeout.reason(), timeout.outcome_unknown()),
        ("timeout", true)
    );
    let made = refused::<ErrorMetadata>(CREATE, SdkError::construction_failure("no field"));
    assert_eq!(
        (made.class(), made.outcome_unknown()),
        (ErrorClass::Bug, false)
    );
}

#[test]
fn missing_credentials_and_failed_roles_say_so_however_deep_they_are_wrapped() {
    let wrapped = |error: CredentialsError| {
        let connector = ConnectorError::other(error.into(), None);
        refused::<ErrorMetadata>(CREATE, SdkError::dispatch_failure(connector))
    };
    let none = wrapped(CredentialsError::not_loaded("x IQoJ"));
    assert_eq!(
        (none.class(), none.reason()),
        (ErrorClass::NeedsOperator, "no_credentials")
    );
    assert!(!format!("{none:?}").contains("IQoJ"));
    let slow = wrapped(CredentialsError::provider_timed_out(Duration::from_secs(1)));
    assert_eq!(slow.class(), ErrorClass::Transient);
    let role = AwsError::new(
        "sts:AssumeRole",
        ErrorClass::NeedsOperator,
        "access_denied",
        "hop 2",
    );
    let role = wrapped(CredentialsError::provider_error(role));
    assert_eq!(
        (role.operation(), role.reason()),
        ("sts:AssumeRole", "access_denied")
    );
}

/// Answers every request alike.
#[derive(Debug, Clone)]
struct Canned(u16, &'static [(&'static str, &'static str)], &'static str);

impl HttpConnector for Canned {
    fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Ok(response(self.0, self.1, self.2)))
    }
}

fn config(answer: Canned) -> SdkConfig {
    let credentials = Credentials::new("AKIATEST", "any", None, None, "test");
    SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(http_client_fn(move |_, _| {
            SharedHttpConnector::new(answer.clone())
        }))
        .build()
}

const JSON: &[(&str, &str)] = &[
    ("content-type", "application/x-amz-json-1.1"),
    ("x-amzn-requestid", "11111111-2222-3333-4444-555555555555"),
];

#[tokio::test]
async fn errors_of_a_json_service_are_read_as_they_come() {
    let body = r#"{"__type":"com.amazonaws.swbexternal#ConflictException","Message":"There is a conflicting operation in process."}"#;
    let client = aws_sdk_ssoadmin::Client::new(&config(Canned(400, JSON, body)));
    let failed = client.list_instances().send().await.unwrap_err();
    let error = refused("sso:ListInstances", failed);
    assert_eq!(error.class(), ErrorClass::Conflict);
    assert_eq!(
        error.to_string(),
        "`sso:ListInstances`: There is a conflicting operation in process. (`ConflictException`, request 11111111-2222-3333-4444-555555555555)"
    );
}

#[tokio::test]
async fn the_time_to_wait_is_taken_from_body_or_header_and_bounded() {
    let wait = async |headers, body| {
        let client = aws_sdk_identitystore::Client::new(&config(Canned(400, headers, body)));
        let failed = client.list_users().identity_store_id("d-1234567890").send();
        refused("identitystore:ListUsers", failed.await.unwrap_err()).retry_after()
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let said = r#"{"__type":"ThrottlingException","Message":"x","RetryAfterSeconds":7}"#;
    assert_eq!(wait(JSON, said).await, seconds(7));
    let long = r#"{"__type":"ThrottlingException","RetryAfterSeconds":86400}"#;
    assert_eq!(wait(JSON, long).await, seconds(600));
    let silent = r#"{"__type":"ThrottlingException","Message":"x"}"#;
    assert_eq!(wait(JSON, silent).await, None);
    let header = &[("retry-after", "9")];
    assert_eq!(wait(header, silent).await, seconds(9));
}

#[tokio::test]
async fn errors_of_a_form_service_are_read_as_they_come() {
    let body = "<ErrorResponse><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name x cannot be found.</Message></Error><RequestId>abc</RequestId></ErrorResponse>";
    let headers = &[("x-amzn-requestid", "abc")];
    let client = aws_sdk_iam::Client::new(&config(Canned(404, headers, body)));
    let failed = client.get_user().user_name("x").send().await.unwrap_err();
    let error = refused("iam:GetUser", failed);
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert_eq!(error.code(), Some("NoSuchEntity"));
    assert_eq!(error.request_id(), Some("abc"));
}

#[tokio::test]
async fn an_answer_that_is_not_aws_s_is_no_answer() {
    let page = "<html><body>proxy says no</body></html>";
    for status in [200, 403, 407, 502] {
        let client = aws_sdk_ssoadmin::Client::new(&config(Canned(status, &[], page)));
        let failed = client.list_instances().send().await.unwrap_err();
        let error = refused("sso:ListInstances", failed);
        assert!(!error.to_string().contains("proxy says"), "{error}");
        let class = match status {
            200 | 502 => ErrorClass::Transient,
            _ => ErrorClass::NeedsOperator,
        };
        assert_eq!(error.class(), class, "{status}");
        assert_eq!(error.reason(), "unreadable_answer");
        assert!(error.outcome_unknown(), "{status}");
        assert!(error.hint().unwrap().contains("proxy"));
    }
}
