import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { endAnswer } from '../../support/end-answer.ts';
import { plainAddress } from '../source.ts';
import { Auth, noDevice } from './auth.ts';
import { readJson } from './body.ts';
import { deviceCalls } from './calls/devices.ts';
import { gatewayCalls } from './calls/gateway.ts';
import { tunnelCalls } from './calls/tunnel.ts';
import { checked } from './checked.ts';
import { DEVICE_KEY } from './contract/fields.ts';
import { type Call, type Calls, Reply, type Route } from './contract/route.ts';
import { ROUTES, type RouteId, routes } from './contract.ts';
import type { ApiParts } from './parts.ts';
import { asRefusal, Refusal } from './refusal.ts';

/**
 * No HSTS: it would count for every port of this host, also for the public ports of devices, which speak plain HTTP.
 */
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

/** What a request is remembered by, until it is answered. */
interface Locals {
  source: string;
  startedMs: number;
  /** The path as the contract has it: what was really asked for may hold a token. */
  route: string | null;
}

/** Makes the API. Its caller owns the listener, and with it the time a request may take. */
export function createApp(parts: ApiParts): Express {
  const { clock, log, metrics } = parts;
  const auth = new Auth(parts);
  const calls: Calls<typeof ROUTES> = { ...gatewayCalls(parts), ...deviceCalls(parts), ...tunnelCalls(parts) };

  const begin: RequestHandler = (req, res, next) => {
    const { remoteAddress } = req.socket;
    if (remoteAddress === undefined) return void req.socket.destroy(); // the sender has gone
    const locals: Locals = { source: plainAddress(remoteAddress), startedMs: clock.nowMs(), route: null };
    Object.assign(res.locals, locals);
    for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value);
    res.once('close', () => record(req, res));
    next();
  };

  function record(req: Request, res: Response): void {
    const { source, route, startedMs } = res.locals as Locals;
    const status = res.writableFinished ? res.statusCode : 499; // 499: the sender has gone, as nginx has it
    metrics.answered(route ?? 'none', status);
    const ms = Math.round(clock.nowMs() - startedMs);
    log.debug({ method: req.method, route, status, source, ms }, 'HTTP request');
  }

  /** Authorisation, then the query, then the body: nobody makes us read who may not call. */
  function handle(id: RouteId, route: Route): RequestHandler {
    const carryOut = calls[id] as unknown as (call: Call) => unknown;
    return async (req, res) => {
      const { source } = res.locals as Locals;
      const { key = '', port = '', token = '' } = req.params as Record<string, string>;
      await auth.check(route.who, { headers: req.headers, source, deviceKey: key, gone: goneSignal(res) });
      if (route.path.includes('{key}') && !DEVICE_KEY.test(key)) throw noDevice();
      const query: unknown = route.query === undefined ? undefined : checked(route.query, { ...req.query }, 'query');
      const body: unknown = route.body === undefined ? undefined : checked(route.body, await readJson(req), 'body');
      const call = { params: { key, port, token }, query, body, source };
      // Each takes what its own route gives; the compiler has seen that where the calls are made.
      const result = await carryOut(call as Call);
      const reply = result instanceof Reply ? result : new Reply(result);
      for (const [name, value] of Object.entries(reply.headers)) res.setHeader(name, value);
      send(
        res,
        reply.status ?? route.status ?? 200,
        reply.value,
        typeof route.answer === 'string' ? route.answer : null,
      );
    };
  }

  /** A text of that type, or JSON. */
  function send(res: Response, status: number, value: unknown, textType: string | null): void {
    const text = textType === null ? JSON.stringify(value) : String(value);
    res.statusCode = status;
    res.setHeader('Content-Type', `${textType ?? 'application/json'}; charset=utf-8`);
    res.setHeader('Content-Length', Buffer.byteLength(text));
    endAnswer(res, text, clock);
  }

  const refuse: ErrorRequestHandler = (error: unknown, req, res, _next) => {
    const known = asRefusal(error);
    const { route } = res.locals as Locals;
    if (known === null)
      log.error({ err: error, method: req.method, route }, 'a request failed for a fault of the program');
    const refusal = known ?? new Refusal('Internal error', 'The gateway could not answer; its log tells why');
    if (res.headersSent) return void req.socket.destroy();
    for (const [name, value] of Object.entries(refusal.headers)) res.setHeader(name, value);
    send(res, refusal.status, refusal.body, null);
  };

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.enable('case sensitive routing');
  app.set('query parser', 'simple');
  app.use(begin);
  for (const path of new Set(routes.map((route) => route.path))) {
    const here = routes.filter((route) => route.path === path);
    const expressPath = path.replaceAll(/\{([a-z]+)\}/g, ':$1');
    const place = app.route(expressPath);
    place.all((_req, res, next) => {
      res.locals.route = path;
      next();
    });
    for (const route of here) place[route.method](handle(route.id, route));
    place.all(only(here.flatMap(({ method }) => (method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()]))));
  }
  app.use(() => {
    throw new Refusal('Not found', 'There is nothing at this address; GET /api/openapi.json lists what there is');
  });
  app.use(refuse);
  return app;
}

function only(methods: readonly string[]): RequestHandler {
  const allow = methods.join(', ');
  return () => {
    throw new Refusal('Method not allowed', `Possible here: ${allow}`, { headers: { Allow: allow } });
  };
}

function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  return gone.signal;
}
