// Types shared by the page's modules. For the type checker only; this file is not served.

/** A feature that is active at a token: its index, its activation, and its name; `true` marks a name as automatic. */
export type Pair = [index: number, value: number, name?: string | null, automatic?: boolean];

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
  /** The most probable tokens there, with the natural logarithms of their probabilities. */
  alternatives?: [text: string, logprob: number][];
  features: Record<string, Pair[]>;
  /** The values of steered features after the interventions, by hook point. */
  steered?: Record<string, [index: number, value: number][]>;
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

/**
 * The view in the panel beside the text, if it has a link. `text` is 1 for the unsteered text of two. The causes of a
 * token are those of the token itself, or of the alternative with the id `other`.
 */
export type View = { kind: "feature"; hook: string; feature: number } | TokenView | WhyView;
export type TokenView = { kind: "token"; text: number; at: number };
export type WhyView = { kind: "why"; text: number; at: number; other: number | null };

/** Everything that determines a run, and the view of it. */
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
  /** Null for no shading. */
  shade: Shade | null;
  view: View | null;
}

export interface SaeInfo {
  hook: string;
  source: string;
  d_sae: number;
  labels: number;
  labels_saved: Saved;
  /** The default strength of steering, and the one above which most texts break, as shares of the activation's norm. */
  steering?: { share: number; breaks: number } | null;
}

/** The place of the labels that the server saves: a file, or its memory only, and why. */
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
  /** The automatic names of features without a label. */
  automatic_names: Record<string, Record<string, string>>;
  texts: RecordedText[];
}

/** The origin of a run: what the program that made it said of it. */
export type Origin = Omit<Recording, "link" | "finished" | "texts">;

/** The run whose texts are shown. */
export interface Run {
  state: State;
  finished: boolean;
  /** Of a run that was opened from a file; else this server and this page made it. */
  origin?: Origin;
}

export interface About {
  name: string;
  version: string;
  device: string;
  model: { n_layer: number; d_model: number; vocab_size: number; context: number; chat: boolean };
  saes: SaeInfo[];
  limits: { max_tokens: number };
  topics?: Topic[];
}

/** A subject that steering gives to a text: an intervention, and the prompt that it was checked with. */
export interface Topic {
  name: string;
  steer: string;
  prompt?: string;
}

/**
 * The surprise of a steered text to the model without steering: mean negative log-likelihoods per generated
 * token, in nats, and their ratio.
 */
export interface Fluency {
  nll: number;
  unsteered_nll?: number | null;
  ratio?: number | null;
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
  fluency?: Fluency;
  reused?: number;
  finish: string;
}

export interface FeatureData {
  hook: string;
  source: string;
  index: number;
  label?: string | null;
  /** The automatic name. */
  auto?: string | null;
  density?: number | null;
  max?: number | null;
  mean?: number | null;
  decoder_norm?: number | null;
  promoted?: [id: number, text: string, logit: number][] | null;
  suppressed?: [id: number, text: string, logit: number][] | null;
  nearest?: [index: number, cosine: number, name?: string | null, automatic?: boolean][] | null;
  top_tokens?: [text: string, count: number][] | null;
  examples?: { tokens: string[]; values: [at: number, value: number][]; peak: number }[] | null;
}

/** A feature that a search finds. */
export interface Hit {
  hook: string;
  index: number;
  label?: string | null;
  auto?: boolean;
  /** The reason for the match. */
  why?: string;
  /** The intervention that turns it up. */
  steer?: string;
}

/** A token that may follow. */
export interface Candidate {
  id: number;
  text: string;
  rank: number;
  logit: number;
  logprob: number;
}

/** A feature at a position, with its effect on the difference of two logits. */
export interface Cause {
  hook: string;
  position: number;
  feature: number;
  activation: number;
  /** Activation times gradient. */
  attribution: number;
  /** The exact effect: the difference of the logits less that without the feature. */
  ablation?: number;
  /** True if the two numbers have opposite signs, or one is more than twice the other. */
  disagrees?: boolean;
  label?: string | null;
  auto?: boolean;
  /** The intervention that turns it off. */
  steer: string;
}

/** The causes of a token, in the server's form. Positive numbers are for the target. */
export interface Causes {
  position: number;
  target: Candidate;
  contrast: Candidate | null;
  metric: { name: string; value: number };
  hooks: { hook: string; error_share: number }[];
  found: number;
  features: Cause[];
  alternatives: Candidate[];
  lens?: { hook: string; top: [id: number, text: string, probability: number][]; target: number; contrast: number | null }[];
}
