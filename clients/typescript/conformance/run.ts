// Plays the cases of `tests/cases`: reads them from standard input, makes each call through the package, prints what it saw. Compares nothing.
import { type DescMessage, fromJson, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import * as tollgate from "@tollgate/client";

interface Call {
  readonly do: string;
  readonly request?: JsonValue;
  readonly deadline_ms?: number;
  readonly cancel_after_events?: number;
  readonly take?: number;
  readonly traceparent?: string;
  readonly times?: number;
  readonly every_ms?: number;
  readonly linger_ms?: number;
  readonly uploads?: readonly Sent[];
}

/** A file to send: a text so many times. */
interface Sent {
  readonly field?: string;
  readonly filename?: string;
  readonly content_type?: string;
  readonly text: string;
  readonly times?: number;
}

interface Case {
  readonly name: string;
  readonly key?: string;
  readonly address?: string;
  readonly tls?: { readonly ca?: string; readonly certificate?: string; readonly private_key?: string };
  readonly call: Call;
}

type Saw = Record<string, unknown>;
type Play = (client: tollgate.Client, call: Call, options: tollgate.CallOptions, saw: Saw) => Promise<void>;

const read = <D extends DescMessage>(schema: D, call: Call): MessageShape<D> => fromJson(schema, call.request ?? {});

/** A call with one answer, which is a message. */
function answers<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  make: (client: tollgate.Client, request: MessageShape<I>, options: tollgate.CallOptions) => Promise<MessageShape<O>>,
): Play {
  return async (client, call, options, saw) => {
    saw["answer"] = toJson(output, await make(client, read(input, call), options));
  };
}

/** A call whose answer says nothing. */
function deletes<I extends DescMessage>(
  input: I,
  make: (client: tollgate.Client, request: MessageShape<I>, options: tollgate.CallOptions) => Promise<void>,
): Play {
  return async (client, call, options, saw) => {
    await make(client, read(input, call), options);
    saw["answer"] = {};
  };
}

/** A list, or a stream of records. */
function lists<I extends DescMessage, O extends DescMessage>(
  input: I,
  output: O,
  make: (client: tollgate.Client, request: MessageShape<I>, options: tollgate.CallOptions) => AsyncIterable<MessageShape<O>>,
): Play {
  return async (client, call, options, saw) => {
    const items: JsonValue[] = [];
    saw["items"] = items;
    for await (const item of make(client, read(input, call), options)) {
      items.push(toJson(output, item));
      if (items.length === call.cancel_after_events) {
        Object.assign(saw, { cancelled: true, cancelled_at_ms: Date.now() });
        break;
      }
      if (items.length === call.take) break;
    }
  };
}

function describe(answer: tollgate.Answer, saw: Saw): void {
  const { usage } = answer;
  Object.assign(saw, {
    answer: toJson(tollgate.CompletionSchema, answer.completion),
    text: answer.text,
    tool_calls: answer.toolCalls.map(({ id, name, arguments: text }) => ({ id, name, arguments: text })),
    finish_reason: tollgate.FinishReason[answer.finishReason],
    ...(usage && { usage: consumed(usage) }),
  });
}

const promised = ({ receipt }: { receipt?: tollgate.Receipt | undefined }) => receipt && toJson(tollgate.ReceiptSchema, receipt);

const consumed = (usage: tollgate.Usage) => ({
  input_tokens: Number(usage.input?.total ?? 0n),
  output_tokens: Number(usage.output?.total ?? 0n),
  cost_nano_usd: Number(usage.costNanoUsd),
  estimated: usage.estimated,
});

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const complete: Play = async (client, call, options, saw) => {
  describe(await client.complete(read(tollgate.CompletionRequestSchema, call), options), saw);
};

const stream: Play = async (client, call, options, saw) => {
  const request = read(tollgate.CompletionRequestSchema, call);
  const answer = client.stream(request, options);
  const kinds: string[] = [];
  let received = 0;
  try {
    for await (const { event } of answer) {
      received++;
      const kind = snake((event.case === "delta" ? event.value.piece.case : event.case) ?? "");
      if (kind !== "" && kinds.at(-1) !== kind) kinds.push(kind);
      if (received === call.cancel_after_events) {
        Object.assign(saw, { cancelled: true, cancelled_at_ms: Date.now() });
        break;
      }
    }
    describe(saw["cancelled"] === true ? answer.answer : await answer.collect(), saw);
  } catch (error) {
    saw["text"] = answer.answer.text;
    throw error;
  } finally {
    Object.assign(saw, { events: kinds, received });
  }
};

/** Every other file as a `Blob`, every other as a stream. */
const uploads = (call: Call) =>
  (call.uploads ?? []).map(({ field, filename = "", content_type = "", text, times = 1 }, at) => {
    const bytes = new TextEncoder().encode(text.repeat(times));
    const content = at % 2 === 0 ? new Blob([bytes]).stream() : new Blob([bytes]);
    return { field, file: { content, filename, mediaType: content_type } };
  });

const first = (call: Call) => {
  const [upload] = uploads(call);
  if (upload === undefined) throw new Error("the case has no upload");
  return upload.file;
};

/** What a file holds that is written with what comes. */
async function written(bytes: tollgate.ByteStream, saw: Saw): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "conformance-"));
  try {
    const path = join(directory, "written");
    const pieces = bytes[Symbol.asyncIterator]();
    const next = await pieces.next();
    await writeFile(path, next.done === true ? "" : next.value);
    for await (const piece of pieces) await appendFile(path, piece);
    saw["file"] = await readFile(path, "utf8");
  } finally {
    await rm(directory, { recursive: true });
  }
}

const speak: Play = async (client, call, options, saw) => {
  const speech = client.audio.speak(read(tollgate.CreateSpeechRequestSchema, call), options);
  if (call.cancel_after_events === undefined) {
    await written(speech, saw);
    Object.assign(saw, { content_type: speech.contentType, usage: speech.usage && consumed(speech.usage), receipt: promised(speech) });
    return;
  }
  let received = 0;
  for await (const piece of speech) {
    if (piece.length === 0 || ++received < call.cancel_after_events) continue;
    Object.assign(saw, { cancelled: true, cancelled_at_ms: Date.now() });
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, call.linger_ms));
};

const transcribe: Play = async (client, call, options, saw) => {
  const heard = await client.audio.transcribe(read(tollgate.TranscriptionHeadSchema, call), first(call), options);
  const { transcript, usage } = heard;
  Object.assign(saw, { answer: toJson(tollgate.TranscriptSchema, transcript), usage: usage && consumed(usage), receipt: promised(heard) });
};

const editImage: Play = async (client, call, options, saw) => {
  const images = uploads(call).flatMap(({ field, file }) => (field === "mask" ? [] : [file]));
  const mask = uploads(call).find(({ field }) => field === "mask")?.file;
  const edited = await client.images.edit(read(tollgate.EditImageHeadSchema, call), images, { ...options, mask });
  Object.assign(saw, {
    answer: { images: edited.images.map((image) => toJson(tollgate.GeneratedImageSchema, image)) },
    usage: edited.usage && consumed(edited.usage),
    receipt: promised(edited),
  });
};

const PLAYS: Record<string, Play> = {
  complete,
  stream,
  count_tokens: answers(tollgate.CompletionRequestSchema, tollgate.CountTokensResponseSchema, (c, r, o) => c.countTokens(r, o)),
  embed: answers(tollgate.CreateEmbeddingRequestSchema, tollgate.CreateEmbeddingResponseSchema, (c, r, o) => c.embeddings.create(r, o)),
  get_model: answers(tollgate.GetModelRequestSchema, tollgate.ModelSchema, (c, r, o) => c.models.get(r.name, o)),
  list_models: lists(tollgate.ListModelsRequestSchema, tollgate.ModelSchema, (c, r, o) => c.models.list(r, o)),

  create_key: answers(tollgate.CreateKeyRequestSchema, tollgate.CreateKeyResponseSchema, (c, r, o) => c.keys.create(r, o)),
  rotate_key: answers(tollgate.RotateKeyRequestSchema, tollgate.RotateKeyResponseSchema, (c, r, o) =>
    c.keys.rotate(r.id, { ...o, graceSeconds: Number(r.graceSeconds ?? 0n) }),
  ),
  get_key: answers(tollgate.GetKeyRequestSchema, tollgate.KeySchema, (c, r, o) =>
    r.secret === "" ? c.keys.get(r.id, o) : c.keys.find(r.secret, o),
  ),
  update_key: answers(tollgate.UpdateKeyRequestSchema, tollgate.KeySchema, (c, { key, updateMask }, o) =>
    c.keys.update(key ?? {}, { ...o, mask: updateMask?.paths }),
  ),
  block_key: answers(tollgate.BlockKeyRequestSchema, tollgate.KeySchema, (c, r, o) => c.keys.block(r.id, o)),
  unblock_key: answers(tollgate.UnblockKeyRequestSchema, tollgate.KeySchema, (c, r, o) => c.keys.unblock(r.id, o)),
  revoke_key: answers(tollgate.RevokeKeyRequestSchema, tollgate.KeySchema, (c, r, o) => c.keys.revoke(r.id, o)),
  list_keys: lists(tollgate.ListKeysRequestSchema, tollgate.KeySchema, (c, r, o) => c.keys.list(r, o)),

  create_team: answers(tollgate.CreateTeamRequestSchema, tollgate.TeamSchema, (c, r, o) => c.teams.create(r, o)),
  get_team: answers(tollgate.GetTeamRequestSchema, tollgate.TeamSchema, (c, r, o) => c.teams.get(r.id, o)),
  update_team: answers(tollgate.UpdateTeamRequestSchema, tollgate.TeamSchema, (c, { team, updateMask }, o) =>
    c.teams.update(team ?? {}, { ...o, mask: updateMask?.paths }),
  ),
  delete_team: deletes(tollgate.DeleteTeamRequestSchema, (c, r, o) => c.teams.delete(r.id, o)),
  list_teams: lists(tollgate.ListTeamsRequestSchema, tollgate.TeamSchema, (c, r, o) => c.teams.list(r, o)),
  create_user: answers(tollgate.CreateUserRequestSchema, tollgate.UserSchema, (c, r, o) => c.users.create(r, o)),
  list_users: lists(tollgate.ListUsersRequestSchema, tollgate.UserSchema, (c, r, o) => c.users.list(r, o)),
  create_organization: answers(tollgate.CreateOrganizationRequestSchema, tollgate.OrganizationSchema, (c, r, o) =>
    c.organizations.create(r, o),
  ),
  list_organizations: lists(tollgate.ListOrganizationsRequestSchema, tollgate.OrganizationSchema, (c, r, o) => c.organizations.list(r, o)),

  create_budget: answers(tollgate.CreateBudgetRequestSchema, tollgate.BudgetSchema, (c, r, o) => c.budgets.create(r, o)),
  get_budget: answers(tollgate.GetBudgetRequestSchema, tollgate.BudgetSchema, (c, r, o) =>
    r.id === "" ? c.budgets.ofKey(r.keyId, o) : c.budgets.get(r.id, o),
  ),
  update_budget: answers(tollgate.UpdateBudgetRequestSchema, tollgate.BudgetSchema, (c, { budget, updateMask }, o) =>
    c.budgets.update(budget ?? {}, { ...o, mask: updateMask?.paths }),
  ),
  increase_budget: answers(tollgate.IncreaseBudgetRequestSchema, tollgate.BudgetSchema, (c, r, o) => c.budgets.increase(r.id, r.increase, o)),
  delete_budget: deletes(tollgate.DeleteBudgetRequestSchema, (c, r, o) => c.budgets.delete(r.id, o)),
  list_budgets: lists(tollgate.ListBudgetsRequestSchema, tollgate.BudgetSchema, (c, r, o) => c.budgets.list(r, o)),
  get_spend: answers(tollgate.GetSpendRequestSchema, tollgate.GetSpendResponseSchema, (c, r, o) => c.spend.get(r, o)),
  list_ledger: lists(tollgate.ListLedgerEntriesRequestSchema, tollgate.LedgerEntrySchema, (c, r, o) => c.spend.entries(r, o)),

  speak,
  transcribe,
  generate_image: answers(tollgate.GenerateImageRequestSchema, tollgate.GenerateImageResponseSchema, (c, r, o) => c.images.generate(r, o)),
  edit_image: editImage,
  upload_file: async (client, call, options, saw) => {
    const header = read(tollgate.FileHeaderSchema, call);
    saw["answer"] = toJson(tollgate.FileSchema, await client.files.upload(header, first(call), options));
  },
  get_file: answers(tollgate.GetFileRequestSchema, tollgate.FileSchema, (c, r, o) => c.files.get(r.id, o)),
  list_files: lists(tollgate.ListFilesRequestSchema, tollgate.FileSchema, (c, r, o) => c.files.list(r, o)),
  delete_file: deletes(tollgate.DeleteFileRequestSchema, (c, r, o) => c.files.delete(r.id, o)),
  file_content: (client, call, options, saw) => written(client.files.content(read(tollgate.GetFileContentRequestSchema, call).id, options), saw),
  create_batch: answers(tollgate.CreateBatchRequestSchema, tollgate.BatchSchema, (c, r, o) => c.batches.create(r, o)),
  cancel_batch: answers(tollgate.CancelBatchRequestSchema, tollgate.BatchSchema, (c, r, o) => c.batches.cancel(r.id, o)),
  list_batches: lists(tollgate.ListBatchesRequestSchema, tollgate.BatchSchema, (c, r, o) => c.batches.list(r, o)),
  await_batch: async (client, call, options, saw) => {
    const { id } = read(tollgate.GetBatchRequestSchema, call);
    const waiting = { ...options, ...(call.every_ms !== undefined && { every: call.every_ms }) };
    saw["answer"] = toJson(tollgate.BatchSchema, await client.batches.wait(id, waiting));
  },

  query_audit: lists(tollgate.QueryRecordsRequestSchema, tollgate.AuditRecordSchema, (c, r, o) => c.audit.query(r, o)),
  tail_audit: lists(tollgate.TailRecordsRequestSchema, tollgate.AuditRecordSchema, (c, r, o) => c.audit.tail(r, o)),
};

/** Members that every error has; the rest are those of its class. */
const COMMON = new Set(["name", "code", "reason", "metadata", "requestId", "retryAfterMs", "partialUsage", "receipt", "message", "stack", "cause"]);

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  return value instanceof Date ? value.toISOString() : value;
}

function seen(error: tollgate.TollgateError): Saw {
  const own = Object.entries(error).filter(([name]) => !COMMON.has(name));
  const fields = Object.fromEntries(own.map(([name, value]) => [snake(name), plain(value)]));
  return {
    type: error.name,
    code: error.code,
    reason: error.reason,
    message: error.message,
    request_id: error.requestId,
    metadata: error.metadata,
    fields: { ...fields, retry_after_ms: error.retryAfterMs },
    partial_usage: error.partialUsage && toJson(tollgate.PartialUsageSchema, error.partialUsage),
    receipt: promised(error),
  };
}

/** The constructor's certificates. */
async function certificates({ ca, certificate, private_key }: NonNullable<Case["tls"]>): Promise<tollgate.TlsOptions> {
  return {
    ...(ca !== undefined && { ca: await readFile(ca) }),
    ...(certificate !== undefined && { cert: await readFile(certificate) }),
    ...(private_key !== undefined && { key: await readFile(private_key) }),
  };
}

async function play({ name, key, address, tls, call }: Case, common: string): Promise<void> {
  const make = PLAYS[call.do];
  const saw: Saw = {};
  if (make) {
    const client = new tollgate.Client({ address: address ?? common, key, tls: tls && (await certificates(tls)) });
    const answers: unknown[] = [];
    try {
      for (let time = 0; time < (call.times ?? 1); time++) {
        await make(client, call, { timeout: call.deadline_ms, traceparent: call.traceparent }, saw);
        answers.push(saw["answer"]);
      }
    } catch (error) {
      saw["error"] = error instanceof tollgate.TollgateError ? seen(error) : { type: "unknown", message: String(error) };
    }
    if (call.times !== undefined) saw["answers"] = answers;
    client.close();
  } else {
    saw["unsupported"] = true;
  }
  process.stdout.write(`${JSON.stringify({ name, saw })}\n`);
}

const { address, cases } = JSON.parse(await readAll(process.stdin)) as { address: string; cases: Case[] };
// A few at a time: deadlines are part of what is seen, and no call should wait behind a hundred others.
const waiting = cases.values();
const work = async () => {
  for (const each of waiting) await play(each, address);
};
await Promise.all(Array.from({ length: 8 }, work));
