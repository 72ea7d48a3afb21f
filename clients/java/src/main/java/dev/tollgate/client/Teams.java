package dev.tollgate.client;

import dev.tollgate.v1.AddTeamMemberRequest;
import dev.tollgate.v1.CreateTeamRequest;
import dev.tollgate.v1.CreateTeamResponse;
import dev.tollgate.v1.DeleteTeamRequest;
import dev.tollgate.v1.GetTeamRequest;
import dev.tollgate.v1.GetTeamResponse;
import dev.tollgate.v1.ListTeamsRequest;
import dev.tollgate.v1.ListTeamsResponse;
import dev.tollgate.v1.RemoveTeamMemberRequest;
import dev.tollgate.v1.Team;
import dev.tollgate.v1.TenancyServiceGrpc;
import dev.tollgate.v1.UpdateTeamRequest;
import dev.tollgate.v1.UpdateTeamResponse;

/** Teams and their members. Get with an empty id: that of the caller's key. */
public final class Teams {
  private final Calls calls;

  Teams(Calls calls) {
    this.calls = calls;
  }

  /**
   * Makes a team.
   *
   * @param team what to make; output-only fields are ignored
   * @return it as it was made
   */
  public Team create(Team team) {
    return create(CreateTeamRequest.newBuilder().setTeam(team).build(), Options.defaults());
  }

  /**
   * Makes a team. The same {@code request_id} gives the same one; without one each call has its
   * own.
   *
   * @param request what to make
   * @param options where it differs from the client's defaults
   * @return it as it was made
   */
  public Team create(CreateTeamRequest request, Options options) {
    CreateTeamResponse made = calls.ask(TenancyServiceGrpc.getCreateTeamMethod(), request, options);
    return made.getTeam();
  }

  /**
   * One team.
   *
   * @param id which
   * @return it
   */
  public Team get(String id) {
    return get(GetTeamRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * One team.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   * @return it
   */
  public Team get(GetTeamRequest request, Options options) {
    GetTeamResponse got = calls.ask(TenancyServiceGrpc.getGetTeamMethod(), request, options);
    return got.getTeam();
  }

  /**
   * All that the key may see, oldest first.
   *
   * @return them, page after page
   */
  public Paged<Team> list() {
    return list(ListTeamsRequest.getDefaultInstance(), Options.defaults());
  }

  /**
   * Those that match, oldest first.
   *
   * @param request which, and how many at once
   * @param options where each page's call differs from the client's defaults
   * @return them, page after page
   */
  public Paged<Team> list(ListTeamsRequest request, Options options) {
    return new Paged<>(
        token -> {
          ListTeamsRequest next =
              token.isEmpty() ? request : request.toBuilder().setPageToken(token).build();
          ListTeamsResponse page =
              calls.ask(TenancyServiceGrpc.getListTeamsMethod(), next, options);
          return new Paged.Page<>(page.getTeamsList(), page.getNextPageToken());
        });
  }

  /**
   * Changes fields.
   *
   * @param team its id, the new values, and its {@code etag} to be refused where somebody else was
   *     faster
   * @param fields the fields to change, {@code display_name}; none: those that are set
   * @return it as it is now
   */
  public Team update(Team team, String... fields) {
    UpdateTeamRequest request =
        UpdateTeamRequest.newBuilder().setTeam(team).setUpdateMask(Masks.of(fields)).build();
    return update(request, Options.defaults());
  }

  /**
   * Changes fields.
   *
   * @param request what, and which fields
   * @param options where it differs from the client's defaults
   * @return it as it is now
   */
  public Team update(UpdateTeamRequest request, Options options) {
    UpdateTeamResponse now = calls.ask(TenancyServiceGrpc.getUpdateTeamMethod(), request, options);
    return now.getTeam();
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param id which
   */
  public void delete(String id) {
    delete(DeleteTeamRequest.newBuilder().setId(id).build(), Options.defaults());
  }

  /**
   * Takes it away; what was spent stays on record.
   *
   * @param request which
   * @param options where it differs from the client's defaults
   */
  public void delete(DeleteTeamRequest request, Options options) {
    var unused = calls.ask(TenancyServiceGrpc.getDeleteTeamMethod(), request, options);
  }

  /**
   * Makes a user a member.
   *
   * @param teamId the team
   * @param userId the user, of the same organization
   * @return the team as it is now
   */
  public Team addMember(String teamId, String userId) {
    AddTeamMemberRequest request =
        AddTeamMemberRequest.newBuilder().setTeamId(teamId).setUserId(userId).build();
    return calls
        .ask(TenancyServiceGrpc.getAddTeamMemberMethod(), request, Options.defaults())
        .getTeam();
  }

  /**
   * Takes a member out. Keys of the user in that team go on working until they are revoked.
   *
   * @param teamId the team
   * @param userId the user
   * @return the team as it is now
   */
  public Team removeMember(String teamId, String userId) {
    RemoveTeamMemberRequest request =
        RemoveTeamMemberRequest.newBuilder().setTeamId(teamId).setUserId(userId).build();
    return calls
        .ask(TenancyServiceGrpc.getRemoveTeamMemberMethod(), request, Options.defaults())
        .getTeam();
  }
}
