// The parts of the script that wasm-bindgen writes for `crates/browser` that the worker uses.

export default function init(options: { module_or_path: BufferSource | WebAssembly.Module }): Promise<unknown>;

export class Files {
  constructor();
  free(): void;
  add(path: string, bytes: Uint8Array): void;
  hasModel(): boolean;
}

export class Server {
  private constructor();
  free(): void;
  static open(model: Files, saes: Files | undefined, name: string, topics: string | undefined, pause: (beforeLong: boolean) => Promise<void> | undefined): Promise<Server>;
  answer(method: string, path: string, body: Uint8Array): Promise<Answer>;
}

export class Answer {
  private constructor();
  free(): void;
  readonly status: number;
  header(name: string): string | undefined;
  next(): Promise<Uint8Array | undefined>;
}
