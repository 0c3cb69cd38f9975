import type { Route, Who } from './contract/route.ts';
import { routes } from './contract.ts';
import { isOptional, type JsonSchema, jsonSchemaOf } from './json-schema.ts';
import { ERRORS, type ErrorWord } from './refusal.ts';

export type OpenApi = { readonly openapi: string; readonly [keyword: string]: unknown };

const SECURITY: Record<Who, readonly object[]> = {
  anyone: [],
  device: [{ operator: [] }, { device: [] }],
  operator: [{ operator: [] }],
};

/** The description of the API as OpenAPI 3.1. Pure: the contract as data. */
export function describeApi(version: string): OpenApi {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route.id, route) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'zeroforce gateway', version, description: 'Devices, their tunnels, and their public ports.' },
    paths,
    components: {
      securitySchemes: {
        operator: { type: 'http', scheme: 'bearer' },
        device: { type: 'apiKey', in: 'header', name: 'X-Token-Code' },
      },
      schemas: {
        Error: {
          type: 'object',
          properties: {
            error: { type: 'string', enum: Object.keys(ERRORS) },
            message: { type: 'string' },
            field: { type: 'string' },
          },
          required: ['error', 'message'],
          additionalProperties: false,
        },
      },
    },
  };
}

/** The errors of a call by what it has, besides those that only it has. */
export function errorsOf(route: Route): ErrorWord[] {
  const words: ErrorWord[] = [];
  if (route.body !== undefined) words.push('Invalid JSON', 'Body too large', 'Unsupported media type');
  if (route.body !== undefined || route.query !== undefined || route.path.includes('{port}')) {
    words.push('Invalid request');
  }
  if (route.who !== 'anyone') words.push('Unauthorized');
  if (route.who === 'operator') words.push('Forbidden');
  if (route.path.includes('{key}')) words.push('Device not found');
  if (route.who !== 'anyone') words.push('Store failed');
  return [...words, ...(route.errors ?? [])];
}

/** Whatever is called. */
const ALWAYS: readonly ErrorWord[] = ['Internal error'];

function operation(id: string, route: Route): object {
  const { who, summary, status = 200, answer, others = {}, body, query } = route;
  const parameters = [
    ...[...route.path.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => parameter('path', name as string, true)),
    ...(query === undefined ? [] : queryParameters(jsonSchemaOf(query))),
  ];
  return {
    operationId: id,
    summary,
    security: SECURITY[who],
    ...(parameters.length > 0 && { parameters }),
    ...(body !== undefined && {
      requestBody: {
        required: !isOptional(body),
        content: { 'application/json': { schema: jsonSchemaOf(body) } },
      },
    }),
    responses: {
      [status]: { description: 'Done', content: content(answer) },
      ...Object.fromEntries(
        Object.entries(others).map(([code, schema]) => [code, { description: 'See there', content: content(schema) }]),
      ),
      ...errorResponses([...errorsOf(route), ...ALWAYS]),
    },
  };
}

const content = (answer: Route['answer']): object =>
  typeof answer === 'string'
    ? { [answer]: { schema: { type: 'string' } } }
    : { 'application/json': { schema: jsonSchemaOf(answer) } };

function parameter(place: 'path' | 'query', name: string, required: boolean, schema: unknown = { type: 'string' }) {
  return { name, in: place, required, schema };
}

function queryParameters({ properties, required = [] }: JsonSchema): object[] {
  return Object.entries(properties as Record<string, unknown>).map(([name, schema]) =>
    parameter('query', name, (required as string[]).includes(name), schema),
  );
}

function errorResponses(words: readonly ErrorWord[]): Record<number, object> {
  const responses: Record<number, object> = {};
  for (const status of new Set(words.map((word) => ERRORS[word]))) {
    const names = [...new Set(words.filter((word) => ERRORS[word] === status))];
    const schema = { $ref: '#/components/schemas/Error' };
    responses[status] = { description: names.join(', '), content: { 'application/json': { schema } } };
  }
  return responses;
}
