// The types of the API's requests and answers, which openapi-typescript generates from docs/openapi.yaml. For editors and
// `make spa`; a browser never loads this file.

import type { components, paths } from "openapi";

type Schemas = components["schemas"];
export type Club = Schemas["Club"];
export type Me = Schemas["Me"];
export type Payment = Schemas["PaymentDetail"];
export type ListedPayment = Schemas["Payment"];
export type Plan = Schemas["Plan"];
export type Receipt = Schemas["Receipt"];
export type Session = Schemas["LoginSession"];
export type Subscription = Schemas["Subscription"];

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
type Has<M extends Method> = { [P in keyof paths]: paths[P] extends Record<Lowercase<M>, object> ? P : never }[keyof paths];

// "/api/v1/payments/{reference}/" is the route of `payments/${string}/`.
type Segments<S extends string> = S extends `${infer Head}/${infer Tail}` ? [Head, ...Segments<Tail>] : [S];
type Fits<Given, Wanted> =
  [Given, Wanted] extends [[infer G, ...infer Gs], [infer W, ...infer Ws]]
    ? W extends `{${string}}` ? Fits<Gs, Ws> : G extends W ? Fits<Gs, Ws> : false
    : [Given, Wanted] extends [[], []] ? true : false;
type Route<M extends Method, F extends string> =
  `/api/v1/${F}` extends Has<M> ? `/api/v1/${F}`
    : { [P in Has<M>]: Fits<Segments<`/api/v1/${F}`>, Segments<P>> extends true ? P : never }[Has<M>];
type Operation<M extends Method, F extends string> = paths[Route<M, F>][Lowercase<M> & keyof paths[Route<M, F>]];

type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : null;
type Answer<O> = O extends { responses: infer R } ? Json<R[keyof R & (200 | 201 | 202 | 204)]> : never;
type Given<M extends Method, O> = M extends "GET"
  ? O extends { parameters: { query?: infer Query } } ? Query : never
  : O extends { requestBody?: infer Body } ? Body extends { content: { "multipart/form-data": object } } ? FormData : Json<Body> : never;
// A path that no route has wants an argument that nobody can give.
type Rest<M extends Method, F extends string> =
  [Route<M, F>] extends [never] ? [noSuchRoute: never] : [body?: Given<M, Operation<M, F>>];
type Data<T> = T extends { data: infer D } ? D : null;

/** The whole answer of a call: its data, and meta beside it. */
export type Ask = <M extends Method, F extends string>(method: M, path: F, ...rest: Rest<M, F>) => Promise<Answer<Operation<M, F>>>;
/** Its data alone. */
export type Call = <M extends Method, F extends string>(method: M, path: F, ...rest: Rest<M, F>) => Promise<Data<Answer<Operation<M, F>>>>;
/** The same, of a POST. */
export type Post = <F extends string>(path: F, ...rest: Rest<"POST", F>) => Promise<Data<Answer<Operation<"POST", F>>>>;
