import type { Answer, ApiUnderTest } from './ask.ts';

export const APPLY = 'application/apply-patch+yaml';
export const MERGE = 'application/merge-patch+json';
export const JSON_PATCH = 'application/json-patch+json';
export const AUDIENCE = 'ktrace.dev';

/** What the requests are about on this cluster. */
export interface Given {
  /** Free: made and taken away by the requests. */
  namespace: string;
  /** Runs, and speaks HTTP on this port. */
  pod: { namespace: string; name: string; port: number };
  node: string;
  /** Path of a collection whose history begins later than version 1. */
  young: string;
}

/** Who asks, and notes the answers by the names of their requests. */
export interface Asking extends Given {
  api: ApiUnderTest;
  /** The namespace's path. */
  inside: string;
  /** Gives what the next request may need of the answer. */
  say(name: string, answer: Promise<Answer>): Promise<Said>;
}

interface Said {
  metadata?: { resourceVersion?: string; continue?: string };
  status?: { token?: string };
}

export function configMap(name: string): { apiVersion: string; kind: string; metadata: object; data: Record<string, string> } {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { a: '1' } };
}
