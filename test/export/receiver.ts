import { createServer as createHttpServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { gunzipSync } from 'node:zlib';

export interface AnyValue {
  stringValue?: string;
  intValue?: string;
  boolValue?: boolean;
  arrayValue?: { values: AnyValue[] };
}

export interface LogRecord {
  timeUnixNano: string;
  observedTimeUnixNano: string;
  severityNumber: number;
  severityText: string;
  eventName: string;
  body: AnyValue;
  attributes: { key: string; value: AnyValue }[];
}

/** An `ExportLogsServiceRequest`; also a line of what the collector's file exporter writes. */
export interface LogsRequest {
  resourceLogs: {
    resource: { attributes: LogRecord['attributes'] };
    scopeLogs: { scope: { name: string; version: string }; logRecords: LogRecord[] }[];
  }[];
}

/** All log records of a request. */
export function recordsOf({ resourceLogs }: LogsRequest): LogRecord[] {
  return resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords));
}

/** Attributes as plain values. */
export function plain(attributes: LogRecord['attributes']): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plainValue(value)]));
}

function plainValue({ stringValue, intValue, boolValue, arrayValue }: AnyValue): unknown {
  if (intValue !== undefined) return Number(intValue);
  return stringValue ?? boolValue ?? arrayValue?.values.map(plainValue);
}

export interface Received {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  request: LogsRequest;
}

/** Answers one request; `respond` is the server's side of it. */
export type Answer = (response: ServerResponse) => void;

const ok: Answer = (response) => void response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');

export const answer =
  (status: number, body = '', headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(body);

/** Takes the request and says nothing. */
export const silence: Answer = () => undefined;

/** An OTLP/HTTP receiver on loopback: gives `answers` in their order, then 200. */
export async function startReceiver(
  t: Pick<TestContext, 'after'>,
  answers: Answer[] = [],
  tls?: ServerOptions,
): Promise<{ url: string; port: number; received: Received[]; answers: Answer[] }> {
  const received: Received[] = [];
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const bytes = Buffer.concat(parts);
      const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString('utf8');
      const { method = '', url: path = '', headers } = request;
      received.push({ method, path, headers, request: JSON.parse(text) as LogsRequest });
      (answers.shift() ?? ok)(response);
    });
  };
  const server = tls === undefined ? createHttpServer(onRequest) : createHttpsServer(tls, onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`, port, received, answers };
}
