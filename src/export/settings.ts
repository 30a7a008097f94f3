import { readFileSync } from 'node:fs';
import { badArgument, messageOf } from '../util/errors.ts';
import type { Environment, Settings } from '../util/settings.ts';

/** Where log records go and how, by OpenTelemetry's variables. */
export interface OtlpSettings {
  url: URL;
  /** May hold secrets: never logged. */
  headers: Readonly<Record<string, string>>;
  compression: 'gzip' | 'none';
  timeoutMs: number;
  /** PEM; undefined: Node's own certificate authorities. */
  ca: string | undefined;
  clientCertificate: string | undefined;
  clientKey: string | undefined;
  /** Attributes of the resource by `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`. */
  attributes: Readonly<Record<string, string>>;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 300_000;

/**
 * Reads `--otlp-endpoint` (`KTRACE_OTLP_ENDPOINT`) and the variables of OpenTelemetry's exporters, those for logs before the general ones.
 * Undefined: no endpoint is set, or `OTEL_SDK_DISABLED` or `OTEL_LOGS_EXPORTER=none` says no. No message has a header's value or a URL's
 * password.
 * @throws KtraceError KTRACE_E_ARGUMENT, exit code 2
 */
export function readOtlpSettings(settings: Settings, env: Environment): OtlpSettings | undefined {
  const url = endpoint(settings, env);
  if (url === undefined || env['OTEL_SDK_DISABLED'] === 'true' || env['OTEL_LOGS_EXPORTER'] === 'none') return undefined;
  const protocol = variable(env, 'PROTOCOL');
  if (protocol !== undefined && protocol.value !== 'http/json') {
    throw badArgument(protocol.name, 'http/json, which is what is spoken here,', protocol.value);
  }
  const serviceName = env['OTEL_SERVICE_NAME'];
  return {
    url,
    headers: headers(env),
    compression: compression(env),
    timeoutMs: timeout(env),
    ca: pem(env, 'CERTIFICATE'),
    clientCertificate: pem(env, 'CLIENT_CERTIFICATE'),
    clientKey: pem(env, 'CLIENT_KEY'),
    attributes: {
      ...pairs('OTEL_RESOURCE_ATTRIBUTES', env['OTEL_RESOURCE_ATTRIBUTES'] ?? ''),
      ...(serviceName === undefined || serviceName === '' ? {} : { 'service.name': serviceName }),
    },
  };
}

/** A URL for a message: what a password or a token could stand in is left out. */
export function shownUrl({ origin, pathname }: URL): string {
  return origin + pathname;
}

interface Variable {
  name: string;
  value: string;
}

/** A variable for logs, else the general one. An empty one counts as absent. */
function variable(env: Environment, what: string): Variable | undefined {
  for (const name of [`OTEL_EXPORTER_OTLP_LOGS_${what}`, `OTEL_EXPORTER_OTLP_${what}`]) {
    const value = env[name];
    if (value !== undefined && value !== '') return { name, value };
  }
  return undefined;
}

/** The endpoint for logs is taken as it is; the general one is where the signals' paths begin. */
function endpoint(settings: Settings, env: Environment): URL | undefined {
  const own = settings.text('otlpEndpoint');
  const theirs = variable(env, 'ENDPOINT');
  if (own !== undefined) return logsUrl(settings.names('otlpEndpoint'), own, true);
  return theirs && logsUrl(theirs.name, theirs.value, theirs.name !== 'OTEL_EXPORTER_OTLP_LOGS_ENDPOINT');
}

function logsUrl(name: string, text: string, isBase: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw badArgument(name, 'an http or https URL', hidden(text));
  }
  if (url.username !== '' || url.password !== '') {
    throw badArgument(name, 'a URL without user and password (put them into OTEL_EXPORTER_OTLP_HEADERS)', shownUrl(url));
  }
  if (isBase) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/logs`;
  return url;
}

/** Something that is no URL may be a secret in the wrong place. */
function hidden(text: string): string {
  return /^[\w.:/[\]-]{1,120}$/.test(text) && !text.includes('@') ? text : `${text.length} characters`;
}

function headers(env: Environment): Record<string, string> {
  const given = variable(env, 'HEADERS');
  if (given === undefined) return {};
  const all = pairs(given.name, given.value);
  for (const [name, value] of Object.entries(all)) {
    const isFit = /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
    if (!isFit) throw badArgument(given.name, 'names and values that HTTP allows', `one at ${JSON.stringify(name.slice(0, 40))}`);
  }
  return all;
}

/** `name=value,name=value`, values percent-encoded, as W3C Baggage has them. */
function pairs(variableName: string, text: string): Record<string, string> {
  const all: Record<string, string> = {};
  for (const [index, pair] of text.split(',').entries()) {
    if (pair.trim() === '') continue;
    const at = pair.indexOf('=');
    const value = at < 1 ? undefined : decoded(pair.slice(at + 1).trim());
    if (value === undefined)
      throw badArgument(variableName, 'name=value pairs apart by commas', `something else at ${index + 1}`);
    all[pair.slice(0, at).trim()] = value;
  }
  return all;
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function compression(env: Environment): 'gzip' | 'none' {
  const given = variable(env, 'COMPRESSION');
  if (given === undefined || given.value === 'gzip') return 'gzip';
  if (given.value !== 'none') throw badArgument(given.name, 'one of gzip, none', given.value);
  return 'none';
}

function timeout(env: Environment): number {
  const given = variable(env, 'TIMEOUT');
  if (given === undefined) return DEFAULT_TIMEOUT_MS;
  const ms = /^\d{1,9}$/.test(given.value) ? Number(given.value) : 0;
  if (ms < 1 || ms > MAX_TIMEOUT_MS) throw badArgument(given.name, `milliseconds from 1 to ${MAX_TIMEOUT_MS}`, given.value);
  return ms;
}

function pem(env: Environment, what: string): string | undefined {
  const given = variable(env, what);
  if (given === undefined) return undefined;
  try {
    const text = readFileSync(given.value, 'utf8');
    if (text.includes('-----BEGIN ')) return text;
  } catch (error) {
    throw badArgument(given.name, 'the path of a PEM file', `${given.value} (${messageOf(error)})`);
  }
  throw badArgument(given.name, 'the path of a PEM file', given.value);
}
