import { create, isMessage, type MessageInitShape } from "@bufbuild/protobuf";

import { ByteStream } from "./bytes.js";
import type { Calls, CallOptions } from "./calls.js";
import {
  AudioService,
  type CreateSpeechRequestSchema,
  type CreateTranscriptionRequestSchema,
  type EditImageHead,
  EditImageHeadSchema,
  type EditImageRequestSchema,
  type GeneratedImage,
  type GenerateImageRequest,
  GenerateImageRequestSchema,
  type GenerateImageResponse,
  ImageService,
  type Receipt,
  type Transcript,
  type TranscriptionHeadSchema,
  type Usage,
} from "./contract.js";
import { unfinished } from "./errors.js";
import { begun, chunks, type Uploadable } from "./upload.js";

interface Told {
  contentType: string;
  usage: Usage | undefined;
  receipt: Receipt | undefined;
}

/** Sound as it is made. */
export class Speech extends ByteStream {
  readonly #told: Told;

  /** Over what `pieces` yields; `told` is filled while they are read. */
  constructor(pieces: AsyncGenerator<Uint8Array, void, undefined>, told: Told) {
    super(pieces);
    this.#told = told;
  }

  /** Media type of the sound, as in `audio/mpeg`; empty until its first bytes have come. */
  get contentType(): string {
    return this.#told.contentType;
  }

  /** What the call consumed, once the sound has been read to its end. */
  get usage(): Usage | undefined {
    return this.#told.usage;
  }

  /** The audit log's promise, once the sound has been read to its end; absent where it was not asked for. */
  get receipt(): Receipt | undefined {
    return this.#told.receipt;
  }
}

/** A transcript and what it cost. */
export interface Transcription {
  /** All of it, or a file of subtitles, as it was asked for. */
  readonly text: string;
  /** The same with its pieces and words, where they were asked for. */
  readonly transcript: Transcript;
  /** What the call consumed. */
  readonly usage: Usage | undefined;
  /** The audit log's promise; absent where it was not asked for. */
  readonly receipt: Receipt | undefined;
}

/** Speech and transcripts. */
export class Audio {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Speaks a text: `speak({ model, input, voice })`. The sound comes while it is made; errors are thrown while it is read. */
  speak(request: MessageInitShape<typeof CreateSpeechRequestSchema>, options?: CallOptions): Speech {
    const told: Told = { contentType: "", usage: undefined, receipt: undefined };
    const calls = this.#calls;
    async function* sound(): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const { event, contentType } of calls.stream(AudioService.method.createSpeech, request, options)) {
        if (contentType !== "") told.contentType = contentType;
        if (event.case === "usage") told.usage = event.value;
        if (event.case === "receipt") told.receipt = event.value;
        if (event.case === "audio" || event.case === "native") yield event.value;
      }
      if (told.usage === undefined) throw unfinished();
    }
    return new Speech(sound(), told);
  }

  /** Writes down what a recording says, or its translation into English (`toEnglish`). From a browser: not over gRPC-Web, which uploads nothing. */
  async transcribe(
    head: MessageInitShape<typeof TranscriptionHeadSchema>,
    recording: Uploadable,
    options?: CallOptions,
  ): Promise<Transcription> {
    async function* parts(): AsyncGenerator<MessageInitShape<typeof CreateTranscriptionRequestSchema>> {
      yield { part: { case: "head", value: head } };
      yield { part: { case: "file", value: begun("file", recording) } };
      for await (const value of chunks(recording)) yield { part: { case: "data", value } };
    }
    let transcript: Transcript | undefined;
    let usage: Usage | undefined;
    let receipt: Receipt | undefined;
    for await (const { event } of this.#calls.upload(AudioService.method.createTranscription, parts(), options)) {
      if (event.case === "transcript") transcript = event.value;
      if (event.case === "usage") usage = event.value;
      if (event.case === "receipt") receipt = event.value;
    }
    if (transcript === undefined) throw unfinished();
    return { text: transcript.text, transcript, usage, receipt };
  }
}

/** Images that were made of others. */
export interface EditedImages {
  /** The images; sketches of them are left out. */
  readonly images: readonly GeneratedImage[];
  /** What the call consumed. */
  readonly usage: Usage | undefined;
  /** The audit log's promise; absent where it was not asked for. */
  readonly receipt: Receipt | undefined;
}

type Counted<T> = Omit<T, "n"> & {
  /** How many images, 1 to 10; absent: one. */
  readonly n?: number | bigint | undefined;
};

/** What to make images of: the contract's `GenerateImageRequest` as a plain object, with a plain number. */
export type ImageInput = Counted<Exclude<MessageInitShape<typeof GenerateImageRequestSchema>, GenerateImageRequest>>;
/** What to make of images: the contract's `EditImageHead` as a plain object, with a plain number. */
export type EditInput = Counted<Exclude<MessageInitShape<typeof EditImageHeadSchema>, EditImageHead>>;

/** Images of words, and of other images. */
export class Images {
  readonly #calls: Calls;

  /** Over a client's calls. */
  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Makes images of words: `generate({ model, prompt, n: 2 })`. */
  generate(request: ImageInput | GenerateImageRequest, options?: CallOptions): Promise<GenerateImageResponse> {
    const asked = isMessage(request, GenerateImageRequestSchema) ? request : create(GenerateImageRequestSchema, counted(request));
    return this.#calls.unary(ImageService.method.generateImage, asked, options);
  }

  /** Makes images of images, and with a mask only within it. From a browser: not over gRPC-Web, which uploads nothing. */
  async edit(
    request: EditInput | EditImageHead,
    images: readonly Uploadable[],
    { mask, ...options }: CallOptions & { readonly mask?: Uploadable | undefined } = {},
  ): Promise<EditedImages> {
    const files = [...images.map((image) => ["image[]", image] as const), ...(mask === undefined ? [] : [["mask", mask] as const])];
    const head = isMessage(request, EditImageHeadSchema) ? request : create(EditImageHeadSchema, counted(request));
    async function* parts(): AsyncGenerator<MessageInitShape<typeof EditImageRequestSchema>> {
      // Money is held for so many.
      yield { part: { case: "head", value: { ...head, images: head.images ?? BigInt(files.length) } } };
      for (const [field, file] of files) {
        yield { part: { case: "file", value: begun(field, file) } };
        for await (const value of chunks(file)) yield { part: { case: "data", value } };
      }
    }
    const made: GeneratedImage[] = [];
    let usage: Usage | undefined;
    let receipt: Receipt | undefined;
    for await (const { event } of this.#calls.upload(ImageService.method.editImage, parts(), options)) {
      if (event.case === "image" && event.value.partialIndex === undefined && event.value.image) made.push(event.value.image);
      if (event.case === "usage") usage = event.value;
      if (event.case === "receipt") receipt = event.value;
    }
    if (made.length === 0) throw unfinished();
    return { images: made, usage, receipt };
  }
}

function counted<T extends { n?: number | bigint | undefined }>({ n, ...rest }: T): Omit<T, "n"> & { n?: bigint } {
  return { ...rest, ...(n === undefined ? {} : { n: BigInt(n) }) };
}
