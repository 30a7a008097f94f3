import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { DEFAULT_LIMITS } from '../../src/agent/access/limits.ts';
import {
  GATE_PORT,
  MAX_AGENT_FRAME_BYTES,
  MAX_CLIENT_FRAME_BYTES,
  STREAM_PATH,
  SUBPROTOCOL,
} from '../../src/protocol/constants.ts';
import { parseAgentMessage, parseClientMessage } from '../../src/protocol/parse.ts';

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const client = readFileSync(new URL('../../docs/follow.py', import.meta.url), 'utf8');
const MESSAGES = readFileSync(new URL('../../src/protocol/messages.ts', import.meta.url), 'utf8');

/** The examples of one side; what is left out of a long text is written `…`. */
function examples(sign: '→' | '←'): string[] {
  return [...page.matchAll(new RegExp(`^ {4}${sign} (\\{.*\\})$`, 'gm'))].map(([, text = '']) => text);
}

/** The types of a side's messages, as they are declared. */
function declared(side: 'ClientMessage' | 'AgentMessage'): string[] {
  const [, text = ''] = new RegExp(`export type ${side} =(.*?);\\n(?:\\n|$)`, 's').exec(MESSAGES) ?? [];
  return [...text.matchAll(/\btype: '(\w+)'/g)].map(([, type = '']) => type).sort();
}

for (const [sign, side, parse] of [
  ['→', 'ClientMessage', parseClientMessage],
  ['←', 'AgentMessage', parseAgentMessage],
] as const)
  test(`docs/protocol.md has an example of each ${side}, and each is one`, () => {
    const types = examples(sign).map((text) => parse(text)?.type);
    assert.deepEqual([...new Set(types)].sort(), declared(side));
  });

test('docs/protocol.md names place, sizes and bounds as the code has them', () => {
  const {
    handshakeMs,
    clockMs,
    deadAfterMs,
    stallMs,
    lingerMs,
    recheckMs,
    graceMs,
    batchEvents,
    queueEvents,
    clients,
    strangers,
  } = DEFAULT_LIMITS;
  for (const text of [
    `path \`${STREAM_PATH}\`, subprotocol \`${SUBPROTOCOL}\``,
    `port ${GATE_PORT} of the gate`,
    `A frame of a client may have ${MAX_CLIENT_FRAME_BYTES / 2 ** 20} MiB, one of an agent ${MAX_AGENT_FRAME_BYTES / 2 ** 20} MiB`,
    `pings every ${clockMs / 1000} s; a client that gives no sign of life for ${deadAfterMs / 1000} s`,
    `within ${handshakeMs / 1000} s is closed`,
    `again every ${recheckMs / 1000} s`,
    `goes on for ${graceMs / 60_000} minutes`,
    `up to ${batchEvents} events`,
    `${queueEvents.toLocaleString('en')} events or ${DEFAULT_LIMITS.queueBytes / 2 ** 20} MiB`,
    `takes none for ${stallMs / 1000} s`,
    `for ${lingerMs / 1000} s, unless`,
    `${clients}, half of them of one account; ${clients / 4} streams of one account`,
    `${strangers} connections without a good token`,
  ])
    assert.ok(page.includes(text), text);
});

test('the client beside it is as small as the page says', () => {
  assert.ok(client.trimEnd().split('\n').length <= 25);
});
