import type { Resource } from '../../plan/types.ts';

/** An answer of the API server that is no success; on the wire it is a `Status` object. */
export class StatusError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly details: Record<string, unknown> | undefined;

  constructor(status: number, reason: string, message: string, details?: Record<string, unknown>) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.details = details;
  }
}

/** The `Status` object of an error, as apimachinery's `metav1.Status` is encoded. */
export function statusObject(error: StatusError): Record<string, unknown> {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: error.message,
    ...(error.reason === '' ? {} : { reason: error.reason }),
    ...(error.details === undefined ? {} : { details: error.details }),
    code: error.status,
  };
}

export function notFound(resource: Resource, name: string): StatusError {
  return new StatusError(404, 'NotFound', `${qualified(resource)} "${name}" not found`, details(resource, name));
}

/** For a path in a known group that no resource answers. */
export function noSuchPath(): StatusError {
  return new StatusError(404, 'NotFound', 'the server could not find the requested resource', {});
}

export function alreadyExists(resource: Resource, name: string): StatusError {
  return new StatusError(409, 'AlreadyExists', `${qualified(resource)} "${name}" already exists`, details(resource, name));
}

export function conflict(resource: Resource, name: string): StatusError {
  const text = 'the object has been modified; please apply your changes to the latest version and try again';
  return new StatusError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(resource)} "${name}": ${text}`,
    details(resource, name),
  );
}

export function unauthorized(): StatusError {
  return new StatusError(401, 'Unauthorized', 'Unauthorized');
}

export interface Attempt {
  user: string;
  verb: string;
  group: string;
  resource: string;
  subresource?: string;
  namespace?: string;
  name?: string;
}

export function forbidden(attempt: Attempt): StatusError {
  const resource = attempt.subresource === undefined ? attempt.resource : `${attempt.resource}/${attempt.subresource}`;
  const what = `${attempt.resource}${attempt.group === '' ? '' : `.${attempt.group}`}`;
  const which = attempt.name === undefined ? '' : ` "${attempt.name}"`;
  const where = attempt.namespace === undefined ? 'at the cluster scope' : `in the namespace "${attempt.namespace}"`;
  return new StatusError(
    403,
    'Forbidden',
    `${what}${which} is forbidden: User "${attempt.user}" cannot ${attempt.verb} resource "${resource}" in API group "${attempt.group}" ${where}`,
    {
      ...(attempt.name === undefined ? {} : { name: attempt.name }),
      ...(attempt.group === '' ? {} : { group: attempt.group }),
      kind: attempt.resource,
    },
  );
}

/** An object, or a question, that breaks a rule. */
export interface Fault {
  field: string;
  /** `Required`: it is missing. */
  reason: 'Required' | 'Invalid' | 'Forbidden';
  /** What came; undefined where nothing did. */
  value?: unknown;
  text: string;
}

export function invalid({ group, kind, name }: { group: string; kind: string; name: string }, fault: Fault): StatusError {
  const { field, reason, value, text } = fault;
  const said =
    reason === 'Required'
      ? `Required value: ${text}`
      : reason === 'Forbidden'
        ? `Forbidden: ${text}`
        : `Invalid value: ${JSON.stringify(value ?? null)}: ${text}`;
  const causes = [{ reason: `FieldValue${reason}`, message: said, field }];
  const what = `${kind}${group === '' ? '' : `.${group}`} ${JSON.stringify(name)}`;
  return new StatusError(422, 'Invalid', `${what} is invalid: ${field}: ${said}`, {
    ...(name === '' ? {} : { name }),
    ...(group === '' ? {} : { group }),
    ...(kind === '' ? {} : { kind }),
    causes,
  });
}

/** The server itself found something wrong with a patch, and tells no more. */
export function unprocessable(): StatusError {
  return new StatusError(422, 'Invalid', 'the server rejected our request due to an error in our request', {});
}

/** The watch cache no longer holds what came after this version. */
export function tooOld(asked: number, oldest: number): StatusError {
  return new StatusError(410, 'Expired', `too old resource version: ${asked} (${oldest})`);
}

export function continueExpired(): StatusError {
  const text =
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.';
  return new StatusError(410, 'Expired', text);
}

export function methodNotAllowed(): StatusError {
  return new StatusError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {});
}

export function initialEventsNeedMatch(): StatusError {
  const about = { group: 'meta.k8s.io', kind: 'ListOptions', name: '' };
  const text = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
  return invalid(about, { field: 'resourceVersionMatch', reason: 'Forbidden', text });
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, 'BadRequest', message);
}

function qualified(resource: Resource): string {
  return `${resource.plural}${resource.group === '' ? '' : `.${resource.group}`}`;
}

function details(resource: Resource, name: string): Record<string, unknown> {
  return { name, ...(resource.group === '' ? {} : { group: resource.group }), kind: resource.plural };
}
