import type { IncomingMessage, ServerResponse } from 'node:http';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { GROUP, HASH } from '../srp/group.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { Answers } from './answer.ts';
import { isTrustedOrigin, ownAddresses } from './origin.ts';
import type { Pairing } from './pairing.ts';
import type { PinRequest } from './pin-guard.ts';
import { RateLimit } from './rate-limit.ts';
import { asRefusal, CLOSED, Refusal, tooMany } from './refusal.ts';
import { readKeyField, readNothing, readPinRequest } from './request-body.ts';

export interface DeviceInfo {
  version: string;
  hostname: string;
  uptimeSeconds: number;
  /** Whether the device is set up for development; reported, it opens nothing. */
  devmode: boolean;
}

export interface PairingAppOptions {
  /** The part of `Pairing` that is reached from outside. */
  pairing: Pick<Pairing, 'policy' | 'isOpen' | 'refusesPin' | 'pinWaitSeconds' | 'pinChallenge'> & {
    setKey(text: string, source: string): Promise<unknown>;
    setKeyWithPin(request: PinRequest, source: string): Promise<{ M2: Buffer }>;
  };
  info: () => DeviceInfo;
  /** Whether the service itself works; a proxy that does not answer is no reason for false. */
  healthy: () => boolean;
  /** Streams of the reverse tunnel come from this IPv4 address; they may not pair. */
  tunnelSource: string;
  /** Names and addresses whose pages may pair, besides those of the device, localhost and *.local. */
  allowedHosts: () => readonly string[];
  /** Further pages, by path; each answers GET and HEAD and is told who asks, IPv4 in its own form. */
  pages?: Readonly<Record<string, (req: IncomingMessage, res: ServerResponse, source: string) => Promise<void>>>;
  clock: Clock;
  log: Log;
}

const SET_KEY = '/zeroforce/setkey';
const PIN_CHALLENGE = '/zeroforce/pin/challenge';
const PIN_SET_KEY = '/zeroforce/pin/setkey';
/** Their refusals are of interest: somebody tried to pair. The rate limit bounds the number. */
const PAIRING_PATHS: ReadonlySet<string> = new Set([SET_KEY, PIN_CHALLENGE, PIN_SET_KEY]);

/** The HTTP routes of docs/pairing.md. The caller owns the listener, and with it the time a request may take. */
export function createPairingApp(options: PairingAppOptions): Express {
  const { pairing, info, healthy, tunnelSource, allowedHosts, pages = {}, clock, log } = options;
  const answer = new Answers(clock);
  const rateLimit = new RateLimit(clock);

  function refuseTunnel(res: Response): void {
    if (sourceOf(res) === tunnelSource) throw new Refusal(403, 'Pairing is not possible through the tunnel');
  }

  async function refuseTooMany(res: Response): Promise<void> {
    const seconds = await rateLimit.waitSeconds(sourceOf(res));
    if (seconds > 0) throw tooMany('Too many requests', seconds);
  }

  function refuseWrongBefore(res: Response): void {
    const seconds = pairing.pinWaitSeconds(sourceOf(res));
    if (seconds > 0) throw tooMany('The PIN was wrong', seconds);
  }

  function refuseForeignPage(req: Request): void {
    const { origin } = req.headers;
    if (origin !== undefined && !isTrustedOrigin(origin, [...ownAddresses(), ...allowedHosts()])) {
      throw new Refusal(403, 'Pages from elsewhere may not pair; open a page of this device');
    }
  }

  function refuseWhenClosed(): void {
    if (!pairing.isOpen()) throw new Refusal(403, CLOSED);
  }

  function refusePin(): void {
    const failure = pairing.refusesPin();
    if (failure !== null) throw failure;
  }

  /** The order of the checks is part of the contract (pairing: requests 1); 405 is the router's, what follows is 413. */
  async function refuseBeforeBody(req: Request, res: Response): Promise<void> {
    await refuseTooMany(res); // 429
    refuseForeignPage(req); // 403
    refuseTunnel(res); // 403
    refuseWhenClosed(); // 403
  }

  async function refusePinBeforeBody(req: Request, res: Response): Promise<void> {
    await refuseTooMany(res); // 429
    refuseWrongBefore(res); // 429
    refuseForeignPage(req); // 403
    refuseTunnel(res); // 403
    refusePin(); // 403
  }

  const readyToPair: RequestHandler = (req, res) => {
    refuseTunnel(res);
    const ready = pairing.isOpen();
    res.vary('Accept');
    if (wantsJson(req)) answer.json(res, 200, { ready });
    else answer.text(res, 200, String(ready));
  };

  const setKey: RequestHandler = async (req, res) => {
    await refuseBeforeBody(req, res);
    const key = await readKeyField(req, res); // 413, 415, 400
    await pairing.setKey(key, sourceOf(res)); // 400, 403 when it closed meanwhile, 500
    answer.json(res, 200, { ok: true });
  };

  const pinChallenge: RequestHandler = async (req, res) => {
    await refusePinBeforeBody(req, res);
    await readNothing(req); // 413, 415, 400
    const { session, salt, B } = await pairing.pinChallenge(sourceOf(res)); // 429 where all together ask too often
    const numbers = { salt: salt.toString('hex'), B: B.toString('hex') };
    answer.json(res, 200, { ok: true, session, group: GROUP, hash: HASH, ...numbers });
  };

  const pinSetKey: RequestHandler = async (req, res) => {
    await refusePinBeforeBody(req, res);
    const request = await readPinRequest(req); // 413, 415, 400
    const { M2 } = await pairing.setKeyWithPin(request, sourceOf(res)); // 403, 400 for the key, 500
    answer.json(res, 200, { ok: true, M2: M2.toString('hex') });
  };

  const showInfo: RequestHandler = (_req, res) => {
    const { version, hostname, uptimeSeconds, devmode } = info();
    const uptime = Math.floor(uptimeSeconds);
    const { policy } = pairing;
    const [pairing_mode, pin_ready] = [pairing.isOpen(), pairing.refusesPin() === null];
    answer.json(res, 200, { version, hostname, pairing_mode, policy, pin_ready, uptime, devmode });
  };

  const showHealth: RequestHandler = (_req, res) => {
    const ok = healthy();
    answer.json(res, ok ? 200 : 503, { ok });
  };

  const refuse: ErrorRequestHandler = (error: unknown, req, res, _next) => {
    const refusal = asRefusal(error, pairing.pinWaitSeconds(sourceOf(res)));
    if (refusal === null) log.error({ err: error, path: req.path }, 'a request failed for a fault of the program');
    const { status, message, headers } = refusal ?? new Refusal(500, 'The device could not answer; its log tells why');
    const level = PAIRING_PATHS.has(req.path) && status === 403 ? 'info' : 'debug';
    log[level]({ status, method: req.method, path: req.path, source: sourceOf(res) }, `refused: ${message}`);
    if (res.headersSent) {
      req.socket.destroy();
      return;
    }
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
    answer.json(res, status, { ok: false, error: message });
  };

  const app = express();
  app.disable('x-powered-by');
  app.enable('strict routing');
  app.enable('case sensitive routing');
  app.use(noteSource);
  app.route('/zeroforce/readytopair').get(readyToPair).all(only('GET, HEAD'));
  app.route(SET_KEY).post(setKey).all(only('POST'));
  app.route(PIN_CHALLENGE).post(pinChallenge).all(only('POST'));
  app.route(PIN_SET_KEY).post(pinSetKey).all(only('POST'));
  app.route('/zeroforce/info').get(showInfo).all(only('GET, HEAD'));
  app.route('/healthz').get(showHealth).all(only('GET, HEAD'));
  for (const [path, page] of Object.entries(pages)) {
    app
      .route(path)
      .get((req, res) => page(req, res, sourceOf(res)))
      .all(only('GET, HEAD'));
  }
  app.use(() => {
    throw new Refusal(404, 'There is no such page');
  });
  app.use(refuse);
  return app;
}

function only(methods: string): RequestHandler {
  return (req) => {
    throw new Refusal(405, `${req.method} is not possible here; possible is ${methods}`, { Allow: methods });
  };
}

/**
 * Later firmware answers JSON; only a client that takes nothing else gets it (pairing: routes). Not `req.accepts`,
 * which takes `application/json; charset=utf-8` for another type.
 */
function wantsJson(req: Request): boolean {
  const ranges = (req.headers.accept ?? '*/*').split(',').map((range) => {
    const [type, ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const quality = parameters.find((parameter) => parameter.startsWith('q='));
    return { type, accepted: quality === undefined || Number(quality.slice(2)) > 0 };
  });
  /** The most specific range that names the type decides (RFC 9110 section 12.5.1). */
  const accepts = (...mostSpecificFirst: string[]): boolean => {
    const decisive = mostSpecificFirst.find((name) => ranges.some(({ type }) => type === name));
    return ranges.some(({ type, accepted }) => type === decisive && accepted);
  };
  return accepts('application/json', 'application/*', '*/*') && !accepts('text/plain', 'text/*', '*/*');
}

/**
 * Notes who asks, once: the system forgets the address of a peer that resets its connection. Whoever has done so before
 * the request is looked at could be anybody, the tunnel included, and gets no answer anyway (pairing: requests 5).
 */
const noteSource: RequestHandler = (req, res, next) => {
  const { remoteAddress } = req.socket;
  if (remoteAddress === undefined) {
    req.socket.destroy();
    return;
  }
  // IPv4 in its own form also on a socket of both kinds. X-Forwarded-For is anybody's claim.
  res.locals.source = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '');
  next();
};

/** The peer's address as `noteSource` has noted it. */
function sourceOf(res: Response): string {
  return res.locals.source as string;
}
