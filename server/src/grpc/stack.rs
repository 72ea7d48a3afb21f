//! All services behind one tower service, with the transport layers around them: the same stack for sockets and for the shim.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tollgate_control::Control;
use tollgate_domain::Error;
use tollgate_pipeline::Pipeline;
use tollgate_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        ErrorReason, audio_service_server::AudioServiceServer, audit_service_server::AuditServiceServer,
        batch_service_server::BatchServiceServer, budget_service_server::BudgetServiceServer,
        completion_service_server::CompletionServiceServer, embedding_service_server::EmbeddingServiceServer,
        file_service_server::FileServiceServer, image_service_server::ImageServiceServer,
        key_admin_service_server::KeyAdminServiceServer, model_service_server::ModelServiceServer,
        moderation_service_server::ModerationServiceServer, rerank_service_server::RerankServiceServer,
        response_service_server::ResponseServiceServer, tenancy_service_server::TenancyServiceServer,
    },
};
use tollgate_trace::Tracer;
use tonic::{body::Body, codec::CompressionEncoding, server::NamedService, service::Routes};
use tonic_health::server::HealthReporter;
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    Rooms, audit, budget, completion, deadline, file, key_admin, model, response, rpc::Rpc, status::status, tenancy,
    trace, unary, upload::unread,
};

/// The stack as everything calls it.
pub type Grpc = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// What the stack is made of.
pub struct Doors {
    /// The life of a call.
    pub pipeline: Arc<Pipeline>,
    /// The admin services.
    pub control: Arc<Control>,
    /// Largest message taken, in bytes.
    pub max_message_bytes: usize,
    /// Largest upload taken, in bytes.
    pub max_upload_bytes: u64,
    /// Ends streams that would never end by themselves.
    pub shutdown: CancellationToken,
    /// Begins traces.
    pub tracer: Tracer,
}

/// The services, who tells of their health, and their names there.
pub async fn stack(doors: Doors) -> anyhow::Result<(Grpc, HealthReporter, Vec<&'static str>)> {
    let Doors { pipeline, control, max_message_bytes, max_upload_bytes, shutdown, tracer } = doors;
    let rooms = Rooms { pipeline, control, max_upload_bytes };
    let (health, health_service) = tonic_health::server::health_reporter();

    let mut routes = Routes::builder();
    let mut names = Vec::new();
    macro_rules! add {
        ($server:ident, $door:expr) => {{
            let server = $server::new($door)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(max_message_bytes)
                .max_encoding_message_size(usize::MAX);
            names.push(serving(&health, &server).await);
            routes.add_service(server);
        }};
    }
    add!(CompletionServiceServer, completion::Door(rooms.clone()));
    let unary = unary::Door(rooms.clone());
    add!(EmbeddingServiceServer, unary.clone());
    add!(RerankServiceServer, unary.clone());
    add!(ModerationServiceServer, unary.clone());
    add!(ImageServiceServer, unary.clone());
    add!(AudioServiceServer, unary);
    add!(ResponseServiceServer, response::Door(rooms.clone()));
    let files = file::Door(rooms.clone());
    add!(FileServiceServer, files.clone());
    add!(BatchServiceServer, files);
    add!(ModelServiceServer, model::Door(rooms.clone()));
    add!(KeyAdminServiceServer, key_admin::Door(rooms.clone()));
    add!(TenancyServiceServer, tenancy::Door(rooms.clone()));
    add!(BudgetServiceServer, budget::Door { rooms: rooms.clone(), shutdown: shutdown.clone() });
    add!(AuditServiceServer, audit::Door { rooms, shutdown });
    routes.add_service(health_service);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Older clients ask for v1alpha.
    routes.add_service(reflection().build_v1()?);
    routes.add_service(reflection().build_v1alpha()?);
    let routes = routes.routes().prepare();

    let layered = service_fn(move |mut request: Request<Body>| {
        let routes = routes.clone();
        trace::note(&tracer, &mut request);
        let rpc = Rpc::begin(&request);
        async move {
            let deadline = deadline::note(&mut request);
            let reply = async move {
                let answered = AssertUnwindSafe(routes.oneshot(request)).catch_unwind().await;
                match answered {
                    Ok(Ok(response)) => conform(response.map(Body::new)),
                    Ok(Err(error)) => match error {},
                    Err(_) => status(Error::defect()).into_http(),
                }
            };
            let response = deadline::within(deadline, reply).await;
            Ok::<_, Infallible>(match rpc {
                Some(rpc) => rpc.answered(response),
                None => response,
            })
        }
    });
    Ok((BoxCloneSyncService::new(layered), health, names))
}

async fn serving<S: NamedService>(health: &HealthReporter, _: &S) -> &'static str {
    health.set_service_status(S::NAME, tonic_health::ServingStatus::Serving).await;
    S::NAME
}

/// Gives tonic's own refusals the form that the contract promises.
fn conform(response: Response<Body>) -> Response<Body> {
    let Some(refusal) = tonic::Status::from_header_map(response.headers()) else { return response };
    if !refusal.details().is_empty() {
        return response;
    }
    let error = match unread(&refusal, "") {
        Some(error) => error,
        // With a message it is about something else, such as a compression that is not taken.
        None if refusal.code() == tonic::Code::Unimplemented && refusal.message().is_empty() => {
            Error::new(ErrorReason::RouteNotFound, "there is no such RPC; reflection lists all")
        }
        None => return response,
    };
    status(error).into_http()
}

/// Calls a clone that is ready.
pub(crate) async fn call(mut grpc: Grpc, request: Request<Body>) -> Response<Body> {
    match grpc.ready().await {
        Ok(ready) => match ready.call(request).await {
            Ok(response) => response,
            Err(error) => match error {},
        },
        Err(error) => match error {},
    }
}
