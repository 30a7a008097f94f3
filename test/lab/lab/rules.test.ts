import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { labPods, labServices, nodeNamed } from '../../../src/lab/plan/plan.ts';
import { proxyRules } from '../../../src/lab/plan/proxy-rules.ts';

const REAL = readFileSync(new URL('../../fixtures/kube/iptables-save-host1.txt', import.meta.url), 'utf8');

/** A rule without what differs from cluster to cluster: names, hashes, addresses, ports, chances, accounting objects. */
function shape(rule: string): string {
  return rule
    .replace(/ -m nfacct --nfacct-name\s+\S+/, '')
    .replace(/(KUBE-(?:SVC|SEP|EXT))-[A-Z2-7]{16}/g, '$1-#')
    .replace(/[a-z-]+\/[a-z-]+(?::[a-z-]+)?/g, 'NAME')
    .replace(/\d+\.\d+\.\d+\.\d+/g, 'IP')
    .replace(/(--dport |IP:)\d+/g, '$1N')
    .replace(/--probability \S+/, '--probability P')
    .trim();
}

function shapes(text: string): Set<string> {
  return new Set(
    text
      .split('\n')
      .filter((line) => line.startsWith('-A'))
      .map(shape),
  );
}

test('every rule of the lab but its one policy is of a shape that a real kube-proxy, kubelet or flannel wrote', () => {
  const real = shapes(REAL);
  const ours = shapes(proxyRules(nodeNamed('host1'), labServices(), labPods(), 4));
  const foreign = [...ours].filter((rule) => !real.has(rule));
  assert.equal(foreign.length, 1, foreign.join('\n'));
  assert.match(foreign[0] ?? '', /guestbook policy/);
  assert.ok(ours.size > 30);
});

test('chains and their order in the built-in chains are those of a real node', () => {
  const jumps = (text: string) =>
    [...shapes(text)].filter(
      (rule) => /^-A (INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING)/.test(rule) && !rule.includes('policy'),
    );
  assert.deepEqual(jumps(proxyRules(nodeNamed('host1'), labServices(), labPods(), 4)), jumps(REAL));
});

test('the IPv6 rules translate to addresses in brackets and leave out what has no IPv6 endpoint', () => {
  const rules = proxyRules(nodeNamed('host2'), labServices(), labPods(), 6);
  assert.match(rules, /-j DNAT --to-destination \[fd00:10:244:3::2\]:6379/);
  assert.doesNotMatch(rules, /\d+\.\d+\.\d+\.\d+/);
});

test('a Service without endpoints is rejected in the filter table and absent from nat', () => {
  const pods = labPods().filter((pod) => pod.workload !== 'redis-master');
  const rules = proxyRules(nodeNamed('host1'), labServices(), pods, 4);
  assert.match(rules, /-d 10\.96\.0\.63\/32 .*"default\/redis-master has no endpoints".* -j REJECT/);
  assert.doesNotMatch(rules, /redis-master cluster IP/);
});
