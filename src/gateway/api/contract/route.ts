import type * as v from 'valibot';
import type { ErrorWord } from '../refusal.ts';

export type Schema = v.GenericSchema;

/** Who may call: everybody; the device that the path names, or the operator; the operator alone. */
export type Who = 'anyone' | 'device' | 'operator';

/**
 * One call of the API. The server, its authorisation, the checks of what comes in, the OpenAPI description and the
 * tables in docs/gateway-api.md are made from these.
 */
export interface Route {
  readonly method: 'get' | 'post' | 'put' | 'delete';
  /** With parameters as in OpenAPI: `/api/devices/{key}`. */
  readonly path: `/${string}`;
  readonly who: Who;
  /** One sentence without a full stop. */
  readonly summary: string;
  readonly query?: Schema;
  /** Of JSON; a schema that allows undefined lets the body be left out. Without one, a body is not looked at. */
  readonly body?: Schema;
  /** When all went well; 200 unless it is said. */
  readonly status?: 201;
  /** The answer in JSON, or the media type of a text. */
  readonly answer: Schema | string;
  /** Answers in JSON that are neither that nor an error. */
  readonly others?: Readonly<Record<number, Schema>>;
  /** Besides those that every call has. */
  readonly errors?: readonly ErrorWord[];
}

export type Routes = Readonly<Record<string, Route>>;

type Parsed<S> = S extends Schema ? v.InferOutput<S> : undefined;

/** A call that may be made, with everything in it checked. */
export interface Call<R extends Route = Route> {
  /** Those of the path that it does not have are empty. */
  readonly params: { readonly key: string; readonly port: string; readonly token: string };
  readonly query: Parsed<R['query']>;
  readonly body: Parsed<R['body']>;
  /** Address of the sender, IPv4 in its own form. */
  readonly source: string;
}

/** Another status than the usual, or headers. */
export class Reply<T = unknown> {
  readonly value: T;
  readonly status: number | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(value: T, options: { status?: number; headers?: Readonly<Record<string, string>> } = {}) {
    this.value = value;
    this.status = options.status ?? null;
    this.headers = options.headers ?? {};
  }
}

type Answer<R extends Route> = R['answer'] extends Schema ? v.InferInput<R['answer']> : string;
type Result<R extends Route> = Answer<R> | Reply<Answer<R>>;

/** What carries out each of these calls; one that is missing does not compile. */
export type Calls<G extends Routes> = {
  readonly [Id in keyof G]: (call: Call<G[Id]>) => Result<G[Id]> | Promise<Result<G[Id]>>;
};
