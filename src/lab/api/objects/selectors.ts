import { messageOf } from '../../../util/errors.ts';
import { parseSelector, type Requirement, selects } from '../../../util/label-selector.ts';
import type { ApiObject } from '../../plan/types.ts';
import { badRequest, StatusError } from './status.ts';

export type Match = (object: ApiObject) => boolean;

/**
 * Compiles a label selector.
 *
 * @throws StatusError 400 for text that is none
 */
export function labelSelector(text: string): Match {
  const requirements = parsed(text);
  return (object) => selects(requirements, object.metadata.labels ?? {});
}

function parsed(text: string): Requirement[] {
  try {
    return parseSelector(text);
  } catch (error) {
    throw new StatusError(400, 'BadRequest', `unable to parse requirement: ${messageOf(error).split('\n')[0]}`);
  }
}

/**
 * Compiles a field selector over `metadata.name`, `metadata.namespace`, and for pods `spec.nodeName` and `status.phase`.
 *
 * @throws StatusError 400 for other fields, as the real server answers
 */
export function fieldSelector(text: string, plural: string): Match {
  const tests = text
    .split(',')
    .filter((term) => term !== '')
    .map((term) => {
      const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(term);
      if (match === null) throw badRequest(`invalid field selector ${JSON.stringify(term)}`);
      const [, field = '', operator, value = ''] = match;
      const read = FIELDS[field] ?? (plural === 'pods' ? POD_FIELDS[field] : undefined);
      if (read === undefined) throw badRequest(unknownField(field, plural));
      return (object: ApiObject) => (read(object) === value) === (operator !== '!=');
    });
  return (object) => tests.every((test) => test(object));
}

function unknownField(field: string, plural: string): string {
  if (plural === 'pods') return `field label not supported: ${field}`;
  return `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`;
}

const FIELDS: Record<string, (object: ApiObject) => unknown> = {
  'metadata.name': (object) => object.metadata.name,
  'metadata.namespace': (object) => object.metadata.namespace ?? '',
};

const POD_FIELDS: typeof FIELDS = {
  'spec.nodeName': (object) => (object['spec'] as { nodeName?: string } | undefined)?.nodeName ?? '',
  'status.phase': (object) => (object['status'] as { phase?: string } | undefined)?.phase ?? '',
};
