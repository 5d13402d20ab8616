// Types shared by the page's modules. For the type checker only; this file is not served.

/** A feature that is active at a token: its index, its activation, and its label if it has one. */
export type Pair = [index: number, value: number, label?: string | null];

export interface Token {
  position: number;
  id: number;
  /** The token's own text; an incomplete character is shown as U+FFFD. */
  token: string;
  /** The text that the token adds. */
  piece: string;
  prompt: boolean;
  /** The natural logarithm of its probability; for generated tokens. */
  logprob?: number;
  features: Record<string, Pair[]>;
}

export interface Intervention {
  hook: string;
  feature: number;
  op: string;
  value: number;
  scale: string;
  at: string;
  /** The unparsed rest of the written form: rows, condition, splice. */
  rest: string;
}

export interface Message {
  role: string;
  content: string;
}

/** The feature that shades the tokens, or the strongest one at a hook point. */
export interface Shade {
  hook: string;
  feature: number | null;
}

/** Everything that determines a run. */
export interface State {
  mode: "story" | "chat";
  prompt: string;
  /** The conversation, up to the user's last message. */
  messages: Message[];
  steer: Intervention[];
  compare: boolean;
  seed: number;
  temperature: number;
  topK: number;
  topP: number;
  maxTokens: number;
  shade: Shade | null;
}

export interface SaeInfo {
  hook: string;
  source: string;
  d_sae: number;
  labels: number;
  labels_saved: Saved;
}

/** Where the server saves labels: a file, or its memory only, and why. */
export interface Saved {
  file: string | null;
  why_not: string | null;
}

/** A text of an exported run. */
export interface RecordedText extends Partial<Ending> {
  steered: boolean;
  tokens: Token[];
}

/** A run as it is exported and opened. */
export interface Recording {
  /** The version of the program that made it. */
  nanoscope: string;
  model: string;
  link: string;
  finished: boolean;
  request?: unknown;
  /** The labels of the features that occur, by hook point and index. */
  labels: Record<string, Record<string, string>>;
  texts: RecordedText[];
}

export interface About {
  name: string;
  version: string;
  device: string;
  model: { n_layer: number; d_model: number; vocab_size: number; context: number; chat: boolean };
  saes: SaeInfo[];
  limits: { max_tokens: number };
}

export interface Applied {
  intervention: unknown;
  positions: number;
  changed: number;
  moved: number;
}

/** The end of a text, with its reason. */
export interface Ending {
  end?: string;
  applied?: Applied[];
  reused?: number;
  finish: string;
}

export interface FeatureData {
  hook: string;
  source: string;
  index: number;
  label?: string | null;
  density?: number | null;
  max?: number | null;
  mean?: number | null;
  decoder_norm?: number | null;
  promoted?: [id: number, text: string, logit: number][] | null;
  suppressed?: [id: number, text: string, logit: number][] | null;
  nearest?: [index: number, cosine: number, label?: string | null][] | null;
  top_tokens?: [text: string, count: number][] | null;
  examples?: { tokens: string[]; values: [at: number, value: number][]; peak: number }[] | null;
}

export interface Found {
  source: string;
  hook: string;
  index: number;
  label: string;
}
