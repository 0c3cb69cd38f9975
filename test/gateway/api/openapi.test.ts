import t from 'tap';
import { routes } from '../../../src/gateway/api/contract.ts';
import { ERRORS } from '../../../src/gateway/api/refusal.ts';
import { startApi } from './support.ts';

interface Description {
  openapi: string;
  info: { version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { securitySchemes: object; schemas: { Error: { properties: { error: { enum: string[] } } } } };
}

interface Operation {
  operationId: string;
  summary: string;
  security: Record<string, unknown>[];
  parameters?: { name: string; in: string; required: boolean; schema: object }[];
  requestBody?: { required: boolean; content: Record<string, { schema: object }> };
  responses: Record<string, { description: string; content: Record<string, { schema: object }> }>;
}

t.test('what is described is there, and what is there is described', async (t) => {
  const api = await startApi(t);
  const { body, status } = await api.call('GET /api/openapi.json', { as: null });
  t.equal(status, 200);
  const { openapi, paths } = body as unknown as Description;
  t.match(openapi, /^3\.1\./);
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method} ${path}`),
  );
  t.strictSame(described.sort(), routes.map(({ method, path }) => `${method} ${path}`).sort());
  for (const call of described) {
    const [method = '', path = ''] = call.split(' ');
    const address = path.replaceAll(/\{[a-z]+\}/g, 'x');
    const answer = await api.call(`${method.toUpperCase()} ${address}`, { as: null });
    t.not(answer.status, 405, call);
    t.not(answer.body.error, 'Not found', call);
  }
  // And no more: every other method is refused with exactly those that are described.
  for (const [path, operations] of Object.entries(paths)) {
    const address = path.replaceAll(/\{[a-z]+\}/g, 'x');
    const { status, headers } = await api.call(`PATCH ${address}`);
    t.equal(status, 405, path);
    const allowed = String(headers.allow).toLowerCase().split(', ');
    t.strictSame(allowed.filter((method) => method !== 'head').sort(), Object.keys(operations).sort(), path);
  }
});

t.test('the description is complete: parameters, bodies, errors', async (t) => {
  const api = await startApi(t);
  const { paths, components } = (await api.call('GET /api/openapi.json')).body as unknown as Description;
  t.strictSame(components.schemas.Error.properties.error.enum, Object.keys(ERRORS));
  const ids = new Set<string>();
  for (const [path, operations] of Object.entries(paths)) {
    const inPath = [...path.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => name);
    for (const [method, operation] of Object.entries(operations)) {
      const { operationId, summary, parameters = [], requestBody, responses, security } = operation;
      const call = `${method} ${path}`;
      ids.add(operationId);
      t.ok(summary.length > 5 && !summary.endsWith('.'), `${call} says what it does`);
      t.strictSame(
        parameters.filter((one) => one.in === 'path').map(({ name }) => name),
        inPath,
        call,
      );
      if (method === 'get') t.equal(requestBody, undefined, call);
      if (security.length > 0) t.ok(responses[401], `${call} tells that it needs authentication`);
      if (requestBody !== undefined) t.ok(responses[400] && responses[413] && responses[415], call);
      for (const [status, response] of Object.entries(responses)) {
        t.ok(response.description.length > 0 && Object.keys(response.content).length === 1, `${call} ${status}`);
      }
    }
  }
  t.equal(ids.size, routes.length, 'each call has a name of its own');
});
