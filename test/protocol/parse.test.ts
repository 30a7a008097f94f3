import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { is, listOf } from '../../src/protocol/check.ts';
import { MAX_CLIENT_FRAME_BYTES } from '../../src/protocol/constants.ts';
import { parseAgentMessage, parseClientMessage } from '../../src/protocol/parse.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { fc } from '../support/fast-check.ts';

const refused = (parse: () => unknown): string => {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof KtraceError, String(error));
    assert.equal(error.code, 'KTRACE_E_PROTOCOL');
    return error.message;
  }
  throw new Error('it was taken');
};

describe('parseClientMessage', () => {
  it('takes every message, with defaults filled in', () => {
    assert.deepEqual(parseClientMessage('{"type":"auth","token":"t"}'), { type: 'auth', token: 't' });
    assert.deepEqual(parseClientMessage('{"type":"subscribe","targets":[{"kind":"selector","selector":"app=redis"}]}'), {
      type: 'subscribe',
      targets: [{ kind: 'selector', selector: 'app=redis' }],
      addresses: [],
      units: 'flows',
    });
    const full = {
      type: 'subscribe',
      targets: [
        { kind: 'pod', namespace: 'default', name: 'a' },
        { kind: 'node', name: 'host1' },
        { kind: 'selector', namespace: 'x', selector: 'a' },
        { kind: 'all' },
      ],
      addresses: ['10.0.0.1', 'fd00::1'],
      units: 'packets',
      snapBytes: 1500,
      data: true,
      headers: true,
      resume: { instance: 'i', session: 's', seq: 3 },
    };
    assert.deepEqual(parseClientMessage(JSON.stringify(full)), full);
    const dump = {
      type: 'dump',
      targets: [{ kind: 'all' }],
      owners: [],
      sinceMs: 0,
      untilMs: 1,
      incident: '00000001',
      after: 'a',
    };
    assert.deepEqual(parseClientMessage(JSON.stringify(dump)), dump);
    assert.deepEqual(parseClientMessage('{"type":"credit","events":5,"ack":2}'), { type: 'credit', events: 5, ack: 2 });
  });

  const cases: [text: string, message: RegExp][] = [
    ['', /Expected a JSON text frame/],
    ['null', /Expected a JSON object for a message, got null/],
    ['[]', /got an array of 0/],
    ['{"type":"x"}', /'auth' \| 'doctor' \| 'subscribe' \| 'recorded' \| 'dump' \| 'credit' for "x" type, got "x"/],
    ['{"targets":[]}', /for a message type, got nothing/],
    ['{"type":"subscribe","targets":[]}', /targets, got an array of 0/],
    ['{"type":"subscribe","targets":[{"kind":"all"},{"kind":"pods"}]}', /for "subscribe" targets 1 kind, got "pods"/],
    ['{"type":"subscribe","targets":[{"kind":"pod","name":"a"}]}', /targets 0 namespace, got nothing/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"addresses":["10.0.0.256"]}', /addresses 0, got "10.0.0.256"/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"addresses":["::1","fe80::1%eth0"]}', /addresses 1, got "fe80::1%eth0"/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"addresses":7}', /array of at most 65536 for "subscribe" addresses, got 7/],
    [
      '{"type":"dump","targets":[{"kind":"all"}],"sinceMs":0,"untilMs":1,"owners":[{"ip":"::1","uid":"u","fromMs":-1}]}',
      /for "dump" owners 0 fromMs, got -1/,
    ],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"units":1}', /units, got 1/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"snapBytes":1501}', /snapBytes, got 1501/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"snapBytes":0}', /snapBytes, got 0/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"data":false}', /data, got false/],
    ['{"type":"subscribe","targets":[{"kind":"all"}],"headers":1}', /headers, got 1/],
    ['{"type":"credit","events":1.5}', /Expected a whole number from 0 to 1000000 for "credit" events, got 1.5/],
    ['{"type":"credit","events":1,"more":1}', /Expected no field of this name for "credit" more, got 1/],
  ];
  for (const [text, message] of cases) {
    it(`says what is wrong with ${text || 'nothing'}`, () => {
      assert.match(
        refused(() => parseClientMessage(text)),
        message,
      );
    });
  }

  it('never repeats a token, and never a long value', () => {
    const token = 'eyJhbGciOi'.repeat(3000);
    for (const text of [
      `{"type":"auth","token":"${token}"}`,
      `{"type":"auth","token":["${token}"]}`,
      `{"type":"auth","token":"${token}`,
    ]) {
      assert.doesNotMatch(
        refused(() => parseClientMessage(text)),
        /eyJ/,
      );
    }
    const long = refused(() => parseClientMessage(`{"type":"${'a'.repeat(100_000)}"}`));
    assert.ok(long.length < 300, `${long.length}`);
  });

  it('gives each message lists of its own where the client said none', () => {
    const subscribe = '{"type":"subscribe","targets":[{"kind":"all"}]}';
    const [one, other] = [parseClientMessage(subscribe), parseClientMessage(subscribe)] as { addresses: string[] }[];
    one?.addresses.push('10.0.0.1');
    assert.deepEqual(other?.addresses, []);
  });

  it('takes long lists up to their limit, and looks at nothing of one behind the first item that is wrong', () => {
    const longest = Array.from({ length: 65_536 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
    const subscribe = (addresses: string[]): string =>
      JSON.stringify({ type: 'subscribe', targets: [{ kind: 'all' }], addresses });
    assert.deepEqual((parseClientMessage(subscribe(longest)) as { addresses: string[] }).addresses, longest);
    assert.match(
      refused(() => parseClientMessage(subscribe([...longest, '10.0.0.1']))),
      /Expected an array of at most 65536 for "subscribe" addresses, got an array of 65537/,
    );
    let looked = 0;
    const item = is('anything else', () => {
      looked += 1;
      return false;
    });
    assert.deepEqual(listOf(item)(longest), { expected: 'anything else', path: [0] });
    assert.equal(looked, 1);
  });

  it('refuses what is over the limit before it parses it', () => {
    assert.match(
      refused(() => parseClientMessage('['.repeat(MAX_CLIENT_FRAME_BYTES + 1))),
      /at most 4194304 bytes/,
    );
  });

  it('refuses with KTRACE_E_PROTOCOL, or takes, whatever comes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseClientMessage(text);
        } catch (error) {
          assert.ok(error instanceof KtraceError && error.code === 'KTRACE_E_PROTOCOL', String(error));
        }
      }),
    );
  });
});

describe('parseAgentMessage', () => {
  const resolved = { pods: [{ namespace: 'a', name: 'b', uid: 'c', node: 'd', ips: ['10.0.0.1'] }], addresses: ['10.0.0.1'] };
  const endpoint = { ip: '10.0.0.1', ports: [{ name: '', proto: 'tcp', port: 80 }], fromMs: 1 };
  const state = { ips: ['10.96.0.1'], ports: [{ name: 'http', proto: 'tcp', port: 80 }], fromMs: 1 };
  const service = { namespace: 'shop', name: 'web', states: [state], endpoints: [endpoint] };
  const recorded = { type: 'recorded', fromMs: 0, toMs: 1, pods: [], known: [], gaps: [], damaged: [] };
  const incident = {
    id: '00000001',
    pod: { namespace: 'a', name: 'b', uid: 'c' },
    atMs: 2,
    causes: [{ kind: 'exited', text: 'it ended' }],
    fromMs: 1,
    toMs: 3,
    records: 4,
    cut: 0,
    isWhole: true,
  };
  const good = [
    {
      type: 'hello',
      node: 'host1',
      instance: 'i',
      version: '1',
      clock: '1763800000000000000',
    },
    { type: 'subscribed', session: 's', resumed: true, missed: 0, resolved },
    { type: 'resolved', resolved },
    { type: 'resolved', resolved: { ...resolved, unresolved: [0, 2] } },
    { type: 'resolved', resolved: { pods: [{ ...resolved.pods[0], ips: [], hostNetwork: true }], addresses: [] } },
    { type: 'events', seq: 1, events: [{ kind: 'packet' }, { kind: 'of the future' }] },
    { type: 'clock', clock: '1' },
    recorded,
    { ...recorded, vxlanPort: 8472 },
    { ...recorded, incidents: [incident] },
    { ...recorded, services: [service], servicesCut: 0 },
    { type: 'error', code: 'KTRACE_E_X', message: 'm', hint: 'h' },
    { type: 'bye', reason: 'r' },
  ];
  for (const message of good) {
    it(`takes ${message.type}, with fields it does not know`, () => {
      assert.deepEqual(parseAgentMessage(JSON.stringify({ ...message, future: 1 })), { ...message, future: 1 });
    });
  }

  it('passes over messages that only a newer agent knows', () => {
    assert.equal(parseAgentMessage('{"type":"capture","data":1}'), undefined);
    assert.equal(parseAgentMessage('{"type":"constructor"}'), undefined);
  });

  const bad: [text: string, message: RegExp][] = [
    ['{}', /Expected a message with a type/],
    ['{"type":"events","seq":1,"events":{"length":1}}', /Expected an array of events for events.events, got an object/],
    ['{"type":"events","seq":-1,"events":[]}', /a whole number for events.seq, got -1/],
    ['{"type":"clock","clock":"soon"}', /nanoseconds in decimal/],
    ['{"type":"resolved","resolved":{"pods":[{}],"addresses":[]}}', /resolved pods and addresses/],
    ['{"type":"resolved","resolved":{"pods":[],"addresses":[],"unresolved":[-1]}}', /resolved pods and addresses/],
    [
      JSON.stringify({ type: 'resolved', resolved: { ...resolved, pods: [{ ...resolved.pods[0], hostNetwork: 'yes' }] } }),
      /resolved pods and addresses/,
    ],
    [JSON.stringify({ ...recorded, incidents: [{ ...incident, pod: {} }] }), /an array of incidents for recorded.incidents/],
    ...[{ ip: 1 }, { pod: {} }, { ports: 1 }, { fromMs: 'x' }].map((wrong): [string, RegExp] => [
      JSON.stringify({ ...recorded, services: [{ ...service, endpoints: [{ ...endpoint, ...wrong }] }] }),
      /an array of recorded Services for recorded.services/,
    ]),
    [JSON.stringify({ ...recorded, servicesCut: -1 }), /a whole number for recorded.servicesCut/],
    [JSON.stringify({ ...recorded, incidents: 1 }), /an array of incidents for recorded.incidents, got 1/],
    ['{"type":"error","code":1,"message":""}', /a string for error.code/],
  ];
  for (const [text, message] of bad) {
    it(`refuses ${text}`, () => {
      assert.match(
        refused(() => parseAgentMessage(text)),
        message,
      );
    });
  }
});
