use tollgate_proto::v1::{
    AddTeamMemberRequest, AddTeamMemberResponse, CreateOrganizationRequest, CreateOrganizationResponse,
    CreateTeamRequest, CreateTeamResponse, CreateUserRequest, CreateUserResponse, DeleteOrganizationRequest,
    DeleteOrganizationResponse, DeleteTeamRequest, DeleteTeamResponse, DeleteUserRequest, DeleteUserResponse,
    GetOrganizationRequest, GetOrganizationResponse, GetTeamRequest, GetTeamResponse, GetUserRequest, GetUserResponse,
    ListOrganizationsRequest, ListOrganizationsResponse, ListTeamsRequest, ListTeamsResponse, ListUsersRequest,
    ListUsersResponse, MoveKeyRequest, MoveKeyResponse, RemoveTeamMemberRequest, RemoveTeamMemberResponse,
    UpdateOrganizationRequest, UpdateOrganizationResponse, UpdateTeamRequest, UpdateTeamResponse, UpdateUserRequest,
    UpdateUserResponse, tenancy_service_server::TenancyService,
};
use tonic::{Request, Response, Status};

use super::{Rooms, principal, status::status};

/// `TenancyService`.
pub(crate) struct Door(pub(crate) Rooms);

#[tonic::async_trait]
impl TenancyService for Door {
    async fn create_organization(
        &self,
        request: Request<CreateOrganizationRequest>,
    ) -> Result<Response<CreateOrganizationResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let made = self.0.control.create_organization(&who, asked).await;
        Ok(Response::new(CreateOrganizationResponse { organization: Some(made.map_err(status)?) }))
    }

    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let who = principal(&request);
        let found = self.0.control.get_organization(&who, &request.into_inner().id).await;
        Ok(Response::new(GetOrganizationResponse { organization: Some(found.map_err(status)?) }))
    }

    async fn list_organizations(
        &self,
        request: Request<ListOrganizationsRequest>,
    ) -> Result<Response<ListOrganizationsResponse>, Status> {
        let who = principal(&request);
        let page = self.0.control.list_organizations(&who, request.get_ref()).await;
        let (organizations, next_page_token) = page.map_err(status)?;
        Ok(Response::new(ListOrganizationsResponse { organizations, next_page_token }))
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Result<Response<UpdateOrganizationResponse>, Status> {
        let who = principal(&request);
        let changed = self.0.control.update_organization(&who, request.into_inner()).await;
        Ok(Response::new(UpdateOrganizationResponse { organization: Some(changed.map_err(status)?) }))
    }

    async fn delete_organization(
        &self,
        request: Request<DeleteOrganizationRequest>,
    ) -> Result<Response<DeleteOrganizationResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_organization(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteOrganizationResponse {}))
    }

    async fn create_team(&self, request: Request<CreateTeamRequest>) -> Result<Response<CreateTeamResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let made = self.0.control.create_team(&who, asked).await;
        Ok(Response::new(CreateTeamResponse { team: Some(made.map_err(status)?) }))
    }

    async fn get_team(&self, request: Request<GetTeamRequest>) -> Result<Response<GetTeamResponse>, Status> {
        let who = principal(&request);
        let found = self.0.control.get_team(&who, &request.into_inner().id).await;
        Ok(Response::new(GetTeamResponse { team: Some(found.map_err(status)?) }))
    }

    async fn list_teams(&self, request: Request<ListTeamsRequest>) -> Result<Response<ListTeamsResponse>, Status> {
        let who = principal(&request);
        let (teams, next_page_token) = self.0.control.list_teams(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(ListTeamsResponse { teams, next_page_token }))
    }

    async fn update_team(&self, request: Request<UpdateTeamRequest>) -> Result<Response<UpdateTeamResponse>, Status> {
        let who = principal(&request);
        let changed = self.0.control.update_team(&who, request.into_inner()).await;
        Ok(Response::new(UpdateTeamResponse { team: Some(changed.map_err(status)?) }))
    }

    async fn delete_team(&self, request: Request<DeleteTeamRequest>) -> Result<Response<DeleteTeamResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_team(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteTeamResponse {}))
    }

    async fn add_team_member(
        &self,
        request: Request<AddTeamMemberRequest>,
    ) -> Result<Response<AddTeamMemberResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let team = self.0.control.add_team_member(&who, &asked.team_id, &asked.user_id).await;
        Ok(Response::new(AddTeamMemberResponse { team: Some(team.map_err(status)?) }))
    }

    async fn remove_team_member(
        &self,
        request: Request<RemoveTeamMemberRequest>,
    ) -> Result<Response<RemoveTeamMemberResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let team = self.0.control.remove_team_member(&who, &asked.team_id, &asked.user_id).await;
        Ok(Response::new(RemoveTeamMemberResponse { team: Some(team.map_err(status)?) }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let made = self.0.control.create_user(&who, asked).await;
        Ok(Response::new(CreateUserResponse { user: Some(made.map_err(status)?) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let who = principal(&request);
        let found = self.0.control.get_user(&who, &request.into_inner().id).await;
        Ok(Response::new(GetUserResponse { user: Some(found.map_err(status)?) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let who = principal(&request);
        let (users, next_page_token) = self.0.control.list_users(&who, request.get_ref()).await.map_err(status)?;
        Ok(Response::new(ListUsersResponse { users, next_page_token }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let who = principal(&request);
        let changed = self.0.control.update_user(&who, request.into_inner()).await;
        Ok(Response::new(UpdateUserResponse { user: Some(changed.map_err(status)?) }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let who = principal(&request);
        self.0.control.delete_user(&who, &request.into_inner().id).await.map_err(status)?;
        Ok(Response::new(DeleteUserResponse {}))
    }

    async fn move_key(&self, request: Request<MoveKeyRequest>) -> Result<Response<MoveKeyResponse>, Status> {
        let who = principal(&request);
        let asked = request.into_inner();
        let moved = self.0.control.move_key(&who, &asked.id, asked.team_id, asked.user_id).await;
        Ok(Response::new(MoveKeyResponse { key: Some(moved.map_err(status)?) }))
    }
}
