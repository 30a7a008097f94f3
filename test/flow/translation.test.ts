import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conntrackRank, translatedTuple, translationsOf } from '../../src/flow/translation.ts';
import { conntrack, tuple } from './sightings.ts';

const CLIENT = { ip: '10.244.1.2', port: 40_000 };
const SERVICE = { ip: '10.96.0.10', port: 80 };
const ENDPOINT = { ip: '10.244.2.10', port: 8080 };
const MASQUERADED = { ip: '192.168.0.1', port: 61_000 };
const seenBy = 'conntrack';

const toService = tuple('10.244.1.2', 40_000, '10.96.0.10', 80);
const toEndpoint = tuple('10.244.1.2', 40_000, '10.244.2.10', 8080);

test('a Service’s request shows its destination before and after, its reply the way back', () => {
  const entry = conntrack(toService, tuple('10.244.2.10', 8080, '10.244.1.2', 40_000));
  assert.deepEqual(translationsOf(entry, true), [{ kind: 'dnat', before: SERVICE, after: ENDPOINT, seenBy }]);
  assert.deepEqual(translationsOf({ ...entry, isReply: true }, true), [
    { kind: 'dnat', before: ENDPOINT, after: SERVICE, seenBy },
  ]);
});

test('masquerade shows the source before and after', () => {
  const entry = conntrack(toEndpoint, tuple('10.244.2.10', 8080, '192.168.0.1', 61_000));
  assert.deepEqual(translationsOf(entry, true), [{ kind: 'snat', before: CLIENT, after: MASQUERADED, seenBy }]);
  assert.deepEqual(translationsOf({ ...entry, isReply: true }, true), [
    { kind: 'snat', before: MASQUERADED, after: CLIENT, seenBy },
  ]);
});

test('both together come in the order they happen', () => {
  const entry = conntrack(toService, tuple('10.244.2.10', 8080, '192.168.0.1', 61_000));
  assert.deepEqual(
    translationsOf(entry, true).map(({ kind }) => kind),
    ['dnat', 'snat'],
  );
  assert.deepEqual(
    translationsOf({ ...entry, isReply: true }, true).map(({ kind }) => kind),
    ['snat', 'dnat'],
  );
});

test('a changed port alone is a translation', () => {
  const entry = conntrack(toEndpoint, tuple('10.244.2.10', 8081, '10.244.1.2', 40_000));
  assert.deepEqual(translationsOf(entry, true), [
    { kind: 'dnat', before: ENDPOINT, after: { ip: '10.244.2.10', port: 8081 }, seenBy },
  ]);
});

test('before masquerade has decided nothing is said of the source', () => {
  const entry = conntrack(toService, tuple('10.244.2.10', 8080, '192.168.0.1', 61_000), { status: 0 });
  assert.deepEqual(
    translationsOf(entry, true).map(({ kind }) => kind),
    ['dnat'],
  );
  assert.equal(translationsOf({ ...entry, status: 1 << 7 }, true).length, 2);
});

test('an untranslated connection has none, in both directions', () => {
  const entry = conntrack(toEndpoint, tuple('10.244.2.10', 8080, '10.244.1.2', 40_000));
  assert.deepEqual(translationsOf(entry, true), []);
  assert.deepEqual(translationsOf({ ...entry, isReply: true }, true), []);
});

test('of ICMP only the addresses are told, a rewritten id is no translation', () => {
  const entry = conntrack(tuple('10.244.1.2', 77, '10.96.0.10', 0), tuple('10.244.2.10', 99, '10.244.1.2', 0));
  assert.deepEqual(translationsOf(entry, false), [
    { kind: 'dnat', before: { ip: '10.96.0.10' }, after: { ip: '10.244.2.10' }, seenBy },
  ]);
  const same = conntrack(tuple('10.244.1.2', 77, '10.244.2.10', 0), tuple('10.244.2.10', 99, '10.244.1.2', 0));
  assert.deepEqual(translationsOf(same, false), []);
});

test('the translated tuple is the packet as it leaves, for a request and for its reply', () => {
  const entry = conntrack(toService, tuple('10.244.2.10', 8080, '192.168.0.1', 61_000));
  const request = { src: CLIENT, dst: SERVICE, dir: 'request' as const, nat: translationsOf(entry, true) };
  assert.deepEqual(translatedTuple(request), tuple('192.168.0.1', 61_000, '10.244.2.10', 8080));
  const reply = {
    src: ENDPOINT,
    dst: MASQUERADED,
    dir: 'reply' as const,
    nat: translationsOf({ ...entry, isReply: true }, true),
  };
  assert.deepEqual(translatedTuple(reply), tuple('10.96.0.10', 80, '10.244.1.2', 40_000));
});

test('an attached and final entry is worth more than a remembered or undecided one', () => {
  const entry = conntrack(toService, toService);
  const ranks = [{ ...entry, remembered: true, status: 0 }, { ...entry, remembered: true }, { ...entry, status: 0 }, entry].map(
    conntrackRank,
  );
  assert.deepEqual(ranks, [...ranks].sort());
  assert.equal(new Set(ranks).size, 4);
});
