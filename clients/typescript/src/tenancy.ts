import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Calls, CallOptions } from "./calls.js";
import {
  type CreateOrganizationRequestSchema,
  type CreateTeamRequestSchema,
  type CreateUserRequestSchema,
  type ListOrganizationsRequestSchema,
  type ListTeamsRequestSchema,
  type ListUsersRequestSchema,
  type Organization,
  OrganizationSchema,
  type Team,
  TeamSchema,
  TenancyService,
  type User,
  UserSchema,
} from "./contract.js";
import { one } from "./one.js";
import { Pages } from "./pages.js";
import { maskOf, type UpdateOptions, withRequestId } from "./update.js";

const { method } = TenancyService;

/** Organizations. */
export class Organizations {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes an organization. */
  async create(request: MessageInitShape<typeof CreateOrganizationRequestSchema>, options?: CallOptions): Promise<Organization> {
    return one((await this.#calls.unary(method.createOrganization, withRequestId(request), options)).organization);
  }

  /** An organization by its id; without one that of the client's own key. */
  async get(id = "", options?: CallOptions): Promise<Organization> {
    return one((await this.#calls.unary(method.getOrganization, { id }, options)).organization);
  }

  /** Organizations that the key may see, oldest first. */
  list(filter: MessageInitShape<typeof ListOrganizationsRequestSchema> = {}, options?: CallOptions): Pages<Organization> {
    return new Pages(async (pageToken) => {
      const { organizations, nextPageToken } = await this.#calls.unary(method.listOrganizations, { ...filter, pageToken }, options);
      return { items: organizations, nextPageToken };
    }, filter.pageToken);
  }

  /** Changes an organization: `update({ id, displayName: "..." })`. With an `etag` only if nobody changed it since. */
  async update(organization: MessageInitShape<typeof OrganizationSchema>, { mask, ...options }: UpdateOptions = {}): Promise<Organization> {
    const updateMask = maskOf(OrganizationSchema, organization, mask);
    return one((await this.#calls.unary(method.updateOrganization, { organization, ...(updateMask && { updateMask }) }, options)).organization);
  }

  /** Takes it away; its spend stays on record. `ResourceInUse` while something of it still works. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(method.deleteOrganization, { id }, options);
  }
}

/** Teams. */
export class Teams {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes a team. */
  async create(request: MessageInitShape<typeof CreateTeamRequestSchema>, options?: CallOptions): Promise<Team> {
    return one((await this.#calls.unary(method.createTeam, withRequestId(request), options)).team);
  }

  /** A team by its id; without one that of the client's own key. */
  async get(id = "", options?: CallOptions): Promise<Team> {
    return one((await this.#calls.unary(method.getTeam, { id }, options)).team);
  }

  /** Teams that the key may see, oldest first. */
  list(filter: MessageInitShape<typeof ListTeamsRequestSchema> = {}, options?: CallOptions): Pages<Team> {
    return new Pages(async (pageToken) => {
      const { teams, nextPageToken } = await this.#calls.unary(method.listTeams, { ...filter, pageToken }, options);
      return { items: teams, nextPageToken };
    }, filter.pageToken);
  }

  /** Changes a team: `update({ id, displayName: "..." })`. With an `etag` only if nobody changed it since. */
  async update(team: MessageInitShape<typeof TeamSchema>, { mask, ...options }: UpdateOptions = {}): Promise<Team> {
    const updateMask = maskOf(TeamSchema, team, mask);
    return one((await this.#calls.unary(method.updateTeam, { team, ...(updateMask && { updateMask }) }, options)).team);
  }

  /** Takes it away; its spend stays on record. `ResourceInUse` while something of it still works. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(method.deleteTeam, { id }, options);
  }

  /** Makes a user a member of a team of the same organization. */
  async addMember(teamId: string, userId: string, options?: CallOptions): Promise<Team> {
    return one((await this.#calls.unary(method.addTeamMember, { teamId, userId }, options)).team);
  }

  /** Takes a member out. Keys of the user in that team go on working until they are revoked. */
  async removeMember(teamId: string, userId: string, options?: CallOptions): Promise<Team> {
    return one((await this.#calls.unary(method.removeTeamMember, { teamId, userId }, options)).team);
  }
}

/** Users. */
export class Users {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes a user. */
  async create(request: MessageInitShape<typeof CreateUserRequestSchema>, options?: CallOptions): Promise<User> {
    return one((await this.#calls.unary(method.createUser, withRequestId(request), options)).user);
  }

  /** A user by its id; without one that of the client's own key. */
  async get(id = "", options?: CallOptions): Promise<User> {
    return one((await this.#calls.unary(method.getUser, { id }, options)).user);
  }

  /** Users that the key may see, oldest first. */
  list(filter: MessageInitShape<typeof ListUsersRequestSchema> = {}, options?: CallOptions): Pages<User> {
    return new Pages(async (pageToken) => {
      const { users, nextPageToken } = await this.#calls.unary(method.listUsers, { ...filter, pageToken }, options);
      return { items: users, nextPageToken };
    }, filter.pageToken);
  }

  /** Changes a user: `update({ id, displayName: "..." })`. With an `etag` only if nobody changed it since. */
  async update(user: MessageInitShape<typeof UserSchema>, { mask, ...options }: UpdateOptions = {}): Promise<User> {
    const updateMask = maskOf(UserSchema, user, mask);
    return one((await this.#calls.unary(method.updateUser, { user, ...(updateMask && { updateMask }) }, options)).user);
  }

  /** Takes it away; its spend stays on record. `ResourceInUse` while something of it still works. */
  async delete(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.unary(method.deleteUser, { id }, options);
  }
}
