import { readFileSync } from 'node:fs';

/** The raw objects that a real API server returned, by kind. */
export interface Captured {
  Pod: RawObject[];
  Service: RawObject[];
  EndpointSlice: RawObject[];
  Node: RawObject[];
  ReplicaSet: RawObject[];
}

// biome-ignore lint/suspicious/noExplicitAny: raw API objects, as they come from outside.
export type RawObject = any;

export function captured(mode: 'iptables' | 'nftables'): Captured {
  return JSON.parse(fixture(`${mode}-objects.json`)) as Captured;
}

export function fixture(name: string): string {
  return readFileSync(new URL(`../fixtures/kube/${name}`, import.meta.url), 'utf8');
}
