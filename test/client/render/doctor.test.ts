import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { tellReports } from '../../../src/client/doctor.ts';
import { reportLines } from '../../../src/client/render/doctor.ts';
import type { NodeReport } from '../../../src/event/node-report.ts';

const REPORT: NodeReport = {
  v: 1,
  node: 'host1',
  version: '0.1.0',
  kernel: { release: '6.1.0', arch: 'x64', btf: true },
  capabilities: [
    { name: 'BPF', has: true, for: 'loading programs' },
    { name: 'SYS_ADMIN', has: false, for: 'fentry on functions' },
  ],
  hooks: [
    { name: 'tc', backend: 'clsact', state: 'on' },
    { name: 'nat', backend: 'kprobe', state: 'idle', reason: 'fentry is refused (EPERM)' },
    { name: 'icmp-send', backend: 'none', state: 'unavailable', reason: 'EACCES\nR1 invalid' },
    { name: 'icmp6-send', backend: 'none', state: 'unavailable', reason: 'EACCES\nR1 invalid' },
  ],
  interfaces: [
    { name: 'cni0', kind: 'bridge', attached: true },
    { name: 'veth1\u001b[31m', kind: 'pod', attached: false },
  ],
  lacks: [
    { what: 'who makes ICMP errors', why: 'EACCES\nR1 invalid', remedy: 'report it' },
    { what: 'who makes ICMPv6 errors', why: 'EACCES\nR1 invalid', remedy: 'report it' },
  ],
  works: true,
};

test('a report tells hooks, interfaces, and what is missing once for each reason, escaped', () => {
  assert.deepEqual(reportLines(REPORT), [
    'host1  works  Linux 6.1.0 x64, BTF, ktrace 0.1.0',
    '  capabilities: BPF',
    '    without SYS_ADMIN: fentry on functions',
    '  hooks:',
    '    tc          clsact  on',
    '    nat         kprobe  idle         fentry is refused (EPERM)',
    '    icmp-send   none    unavailable',
    '    icmp6-send  none    unavailable',
    '  interfaces: 2, 1 attached',
    '    cni0        bridge  attached',
    '    veth1\\x1b[31m  pod',
    '  cannot be told:',
    '    who makes ICMP errors',
    '    who makes ICMPv6 errors',
    '      because EACCES',
    '        R1 invalid',
    '      remedy: report it',
    '',
  ]);
});

test('what is not attached is attached when somebody follows, unless it cannot be', () => {
  const interfaces = [{ name: 'veth1', kind: 'pod', attached: false }];
  const line = (report: NodeReport) => reportLines(report).find((one) => one.startsWith('  interfaces'));
  assert.equal(line({ ...REPORT, interfaces }), '  interfaces: 1, attached when somebody follows');
  assert.equal(line({ ...REPORT, interfaces, works: false, reason: 'ENOMEM' }), '  interfaces: 1, none attached');
});

test('exit code 0 when every node works, 1 when one does not or cannot be asked; JSON is one object a line', async () => {
  const silent = { v: 1, node: 'host2', works: false, reason: 'The gate cannot be reached' } as const;
  for (const [reports, code] of [
    [[REPORT], 0],
    [[REPORT, silent], 1],
    [[REPORT, { ...REPORT, works: false, reason: 'no BTF' }], 1],
  ] as const) {
    const stdout = new PassThrough();
    assert.equal(tellReports(reports, 'json', stdout), code);
    stdout.end();
    const lines = (await text(stdout)).trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line)),
      reports,
    );
  }
  assert.deepEqual(reportLines(silent), ['host2  CANNOT BE ASKED', '  The gate cannot be reached', '']);
});
