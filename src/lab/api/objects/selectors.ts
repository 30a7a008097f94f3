import type { ApiObject } from '../../plan/types.ts';
import { badRequest, StatusError } from './status.ts';

export type Match = (object: ApiObject) => boolean;

/**
 * Compiles a label selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas.
 *
 * @throws StatusError 400 for anything else
 */
export function labelSelector(text: string): Match {
  const tests = splitOutsideParentheses(text).map(labelRequirement);
  return (object) => tests.every((test) => test(object.metadata.labels ?? {}));
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

type LabelTest = (labels: Record<string, string>) => boolean;

function labelRequirement(term: string): LabelTest {
  const key = '([A-Za-z0-9][A-Za-z0-9_./-]*)';
  const set = new RegExp(`^${key}\\s+(in|notin)\\s*\\(([^()]*)\\)$`).exec(term);
  if (set !== null) {
    const [, name = '', operator, list = ''] = set;
    const values = new Set(list.split(',').map((value) => value.trim()));
    return operator === 'in'
      ? (labels) => name in labels && values.has(labels[name] ?? '')
      : (labels) => !values.has(labels[name] ?? '\0');
  }
  const equality = new RegExp(`^${key}\\s*(==|=|!=)\\s*([A-Za-z0-9_.-]*)$`).exec(term);
  if (equality !== null) {
    const [, name = '', operator, value] = equality;
    return operator === '!=' ? (labels) => labels[name] !== value : (labels) => labels[name] === value;
  }
  const existence = new RegExp(`^(!?)\\s*${key}$`).exec(term);
  if (existence !== null) {
    const [, not, name = ''] = existence;
    return (labels) => name in labels === (not === '');
  }
  throw new StatusError(400, 'BadRequest', `unable to parse requirement: found ${JSON.stringify(term)}`);
}

function splitOutsideParentheses(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}
