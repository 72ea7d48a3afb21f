package tollgate

import (
	"context"
	"iter"

	v1 "tollgate.dev/clients/go/tollgate/v1"
)

// Organizations governs organizations.
type Organizations struct {
	rpc v1.TenancyServiceClient
}

// Create makes an organization.
func (o *Organizations) Create(ctx context.Context, request *v1.CreateOrganizationRequest) (*v1.Organization, error) {
	response, err := o.rpc.CreateOrganization(ctx, withID(request))
	return response.GetOrganization(), err
}

// Get returns an organization by its id; empty: that of the caller's key.
func (o *Organizations) Get(ctx context.Context, id string) (*v1.Organization, error) {
	response, err := o.rpc.GetOrganization(ctx, &v1.GetOrganizationRequest{Id: id})
	return response.GetOrganization(), err
}

// List yields the organizations that the caller may see, oldest first, over all pages. The request may be nil.
func (o *Organizations) List(ctx context.Context, request *v1.ListOrganizationsRequest) iter.Seq2[*v1.Organization, error] {
	next := func(r *v1.ListOrganizationsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, o.rpc.ListOrganizations, (*v1.ListOrganizationsResponse).GetOrganizations)
}

// Update changes the fields that the paths name; no path: those that are set. An etag, where set, must match.
func (o *Organizations) Update(ctx context.Context, organization *v1.Organization, paths ...string) (*v1.Organization, error) {
	response, err := o.rpc.UpdateOrganization(ctx, &v1.UpdateOrganizationRequest{Organization: organization, UpdateMask: mask(paths)})
	return response.GetOrganization(), err
}

// Delete takes away an organization without teams, users and working keys; its spend stays on record.
func (o *Organizations) Delete(ctx context.Context, id string) error {
	_, err := o.rpc.DeleteOrganization(ctx, &v1.DeleteOrganizationRequest{Id: id})
	return err
}

// Teams governs teams and their members.
type Teams struct {
	rpc v1.TenancyServiceClient
}

// Create makes a team.
func (t *Teams) Create(ctx context.Context, request *v1.CreateTeamRequest) (*v1.Team, error) {
	response, err := t.rpc.CreateTeam(ctx, withID(request))
	return response.GetTeam(), err
}

// Get returns a team by its id; empty: that of the caller's key.
func (t *Teams) Get(ctx context.Context, id string) (*v1.Team, error) {
	response, err := t.rpc.GetTeam(ctx, &v1.GetTeamRequest{Id: id})
	return response.GetTeam(), err
}

// List yields teams, oldest first, over all pages. The request narrows them; nil: all that the caller may see.
func (t *Teams) List(ctx context.Context, request *v1.ListTeamsRequest) iter.Seq2[*v1.Team, error] {
	next := func(r *v1.ListTeamsRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, t.rpc.ListTeams, (*v1.ListTeamsResponse).GetTeams)
}

// Update changes the fields that the paths name; no path: those that are set. An etag, where set, must match.
func (t *Teams) Update(ctx context.Context, team *v1.Team, paths ...string) (*v1.Team, error) {
	response, err := t.rpc.UpdateTeam(ctx, &v1.UpdateTeamRequest{Team: team, UpdateMask: mask(paths)})
	return response.GetTeam(), err
}

// Delete takes away a team without working keys; its spend stays on record.
func (t *Teams) Delete(ctx context.Context, id string) error {
	_, err := t.rpc.DeleteTeam(ctx, &v1.DeleteTeamRequest{Id: id})
	return err
}

// AddMember makes a user a member of a team of the same organization.
func (t *Teams) AddMember(ctx context.Context, teamID, userID string) (*v1.Team, error) {
	response, err := t.rpc.AddTeamMember(ctx, &v1.AddTeamMemberRequest{TeamId: teamID, UserId: userID})
	return response.GetTeam(), err
}

// RemoveMember takes a member out of a team. The user's keys in that team go on working until they are revoked.
func (t *Teams) RemoveMember(ctx context.Context, teamID, userID string) (*v1.Team, error) {
	response, err := t.rpc.RemoveTeamMember(ctx, &v1.RemoveTeamMemberRequest{TeamId: teamID, UserId: userID})
	return response.GetTeam(), err
}

// Users governs users.
type Users struct {
	rpc v1.TenancyServiceClient
}

// Create makes a user.
func (u *Users) Create(ctx context.Context, request *v1.CreateUserRequest) (*v1.User, error) {
	response, err := u.rpc.CreateUser(ctx, withID(request))
	return response.GetUser(), err
}

// Get returns a user by its id; empty: that of the caller's key.
func (u *Users) Get(ctx context.Context, id string) (*v1.User, error) {
	response, err := u.rpc.GetUser(ctx, &v1.GetUserRequest{Id: id})
	return response.GetUser(), err
}

// List yields users, oldest first, over all pages. The request narrows them; nil: all that the caller may see.
func (u *Users) List(ctx context.Context, request *v1.ListUsersRequest) iter.Seq2[*v1.User, error] {
	next := func(r *v1.ListUsersRequest, token string) { r.PageToken = token }
	return pages(ctx, request, next, u.rpc.ListUsers, (*v1.ListUsersResponse).GetUsers)
}

// Update changes the fields that the paths name; no path: those that are set. An etag, where set, must match.
func (u *Users) Update(ctx context.Context, user *v1.User, paths ...string) (*v1.User, error) {
	response, err := u.rpc.UpdateUser(ctx, &v1.UpdateUserRequest{User: user, UpdateMask: mask(paths)})
	return response.GetUser(), err
}

// Delete takes away a user without working keys; its spend stays on record.
func (u *Users) Delete(ctx context.Context, id string) error {
	_, err := u.rpc.DeleteUser(ctx, &v1.DeleteUserRequest{Id: id})
	return err
}
