use tollgate_proto::v1::{
    BlockKeyRequest, BlockKeyResponse, CreateKeyRequest, CreateKeyResponse, GetKeyRequest, GetKeyResponse,
    ImportKeyRequest, ImportKeyResponse, ListKeysRequest, ListKeysResponse, RevokeKeyRequest, RevokeKeyResponse,
    RotateKeyRequest, RotateKeyResponse, UnblockKeyRequest, UnblockKeyResponse, UpdateKeyRequest, UpdateKeyResponse,
    key_admin_service_server::KeyAdminService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

/// `KeyAdminService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl KeyAdminService for Door {
    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let who = principal(&request);
        let minted = self.0.control.create_key(&who, request.into_inner()).await.map_err(status)?;
        let secret = minted.secret.map(|s| s.expose().to_owned()).unwrap_or_default();
        Ok(Response::new(CreateKeyResponse { key: Some(minted.key), secret, budget_id: minted.budget_id }))
    }

    async fn get_key(&self, request: Request<GetKeyRequest>) -> Result<Response<GetKeyResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let key = self.0.control.get_key(&who, &asked.id, &asked.secret).await.map_err(status)?;
        Ok(Response::new(GetKeyResponse { key: Some(key) }))
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let who = principal(&request);
        let page = self.0.control.list_keys(&who, request.get_ref()).await;
        let (keys, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListKeysResponse { keys, next_page_token }))
    }

    async fn update_key(&self, request: Request<UpdateKeyRequest>) -> Result<Response<UpdateKeyResponse>, Status> {
        let who = principal(&request);
        let key = self.0.control.update_key(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(UpdateKeyResponse { key: Some(key) }))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let grace_seconds = asked.grace_seconds.unwrap_or(0);
        let rotated = self.0.control.rotate_key(&who, &asked.id, grace_seconds, &asked.secret).await;
        let (key, secret) = rotated.map_err(status)?;
        Ok(Response::new(RotateKeyResponse { key: Some(key), secret: secret.expose().to_owned() }))
    }

    async fn block_key(&self, request: Request<BlockKeyRequest>) -> Result<Response<BlockKeyResponse>, Status> {
        let who = principal(&request);
        let key = self.0.control.block_key(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(BlockKeyResponse { key: Some(key) }))
    }

    async fn unblock_key(&self, request: Request<UnblockKeyRequest>) -> Result<Response<UnblockKeyResponse>, Status> {
        let who = principal(&request);
        let key = self.0.control.unblock_key(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(UnblockKeyResponse { key: Some(key) }))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<RevokeKeyResponse>, Status> {
        let who = principal(&request);
        let key = self.0.control.revoke_key(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(RevokeKeyResponse { key: Some(key) }))
    }

    async fn import_key(&self, request: Request<ImportKeyRequest>) -> Result<Response<ImportKeyResponse>, Status> {
        let who = principal(&request);
        let imported = self.0.control.import_key(&who, request.into_inner()).await.map_err(status)?;
        Ok(Response::new(ImportKeyResponse { key: imported.key, existed: imported.existed }))
    }
}
