import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseWords, type TargetWords } from '../../src/filter/targets.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { fc } from '../support/fast-check.ts';

function parse(words: string[], more: Partial<TargetWords> = {}) {
  const { targetsIn, filter } = parseWords({ words, selectors: [], namespaces: [], allNamespaces: false, ...more });
  return { targets: targetsIn('default'), filterWords: filter === '' ? [] : filter.split(' ') };
}

/** Whether these words are a filter, be it one that is refused with its place, and no target. */
function isReadAsFilter(words: string[], more: Partial<TargetWords> = {}): boolean {
  try {
    return parse(words, more).filterWords.join(' ') === words.join(' ');
  } catch (error) {
    return error instanceof KtraceError && error.code === 'KTRACE_E_FILTER';
  }
}

test('every spelling of a kind is the same kind', () => {
  const spellings: Record<string, string[]> = {
    pod: ['pod', 'pods', 'po', 'Pod'],
    deployment: ['deploy', 'deployment', 'deployments'],
    replicaset: ['rs', 'replicaset', 'replicasets'],
    statefulset: ['sts', 'statefulset', 'statefulsets'],
    daemonset: ['ds', 'daemonset', 'daemonsets'],
    job: ['job', 'jobs'],
    cronjob: ['cj', 'cronjob', 'cronjobs'],
    service: ['svc', 'service', 'services'],
  };
  for (const [kind, words] of Object.entries(spellings)) {
    for (const word of words) {
      assert.deepEqual(parse([`${word}/web-1`]).targets, [{ kind, namespace: 'default', name: 'web-1' }]);
    }
  }
  assert.deepEqual(parse(['no/host1', 'node/host2', 'ns/kube-system']).targets, [
    { kind: 'node', name: 'host1' },
    { kind: 'node', name: 'host2' },
    { kind: 'namespace', name: 'kube-system' },
  ]);
});

test('a target may be written as kubectl get -o name writes it', () => {
  const names = [
    'deployment.apps/web',
    'statefulset.apps/web',
    'daemonset.apps/web',
    'job.batch/web',
    'cronjob.batch/web',
    'ReplicaSets.apps/web',
  ];
  const { targets, filterWords } = parse([...names, 'udp']);
  assert.deepEqual(
    targets.map((target) => target.kind),
    ['deployment', 'statefulset', 'daemonset', 'job', 'cronjob', 'replicaset'],
  );
  assert.deepEqual(filterWords, ['udp']);
});

test('without a target the namespace is followed, with -A everything', () => {
  assert.deepEqual(parse([]).targets, [{ kind: 'namespace', name: 'default' }]);
  assert.deepEqual(parse([], { namespaces: ['a', 'b', 'a'] }).targets, [
    { kind: 'namespace', name: 'a' },
    { kind: 'namespace', name: 'b' },
  ]);
  assert.deepEqual(parse([], { allNamespaces: true }).targets, [{ kind: 'all' }]);
});

test('a selector stands in each namespace, or in all with -A', () => {
  assert.deepEqual(parse([], { selectors: ['app=redis', 'app=web'], namespaces: ['a'] }).targets, [
    { kind: 'selector', namespace: 'a', selector: 'app=redis' },
    { kind: 'selector', namespace: 'a', selector: 'app=web' },
  ]);
  assert.deepEqual(parse([], { selectors: ['app=redis'], allNamespaces: true }).targets, [
    { kind: 'selector', selector: 'app=redis' },
  ]);
});

test('the same target twice is one target', () => {
  assert.equal(parse(['pod/a', 'po/a']).targets.length, 1);
});

test('words after the targets are the filter, a network with a slash among them', () => {
  assert.deepEqual(parse(['pod/a', 'tcp', 'port', '80']).filterWords, ['tcp', 'port', '80']);
  assert.deepEqual(parse(['net', '10.244.0.0/16']).filterWords, ['net', '10.244.0.0/16']);
  for (const word of ['10.244.0.0/16', 'fe80::/10', 'abcd:ef::/32', 'tcp[12]/4', '(ip[2:2]/2', 'net 10.0.0.0/8'])
    assert.ok(isReadAsFilter([word]), word);
});

test('a filter may begin with any word of the language, also with one that is refused with its reason', () => {
  for (const text of [
    ...'ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp'.split(' '),
    'esp or ah',
    'length > 5',
    'pod shop/web',
    'pod web and tcp',
    'svc redis || svc db',
    'ns shop or kube-system',
    'node not host1',
    'pod',
    'link host 1:2:3:4:5:6',
    'protochain 6',
    'mpls',
    'wlan host 1',
    'ppp[0] = 1',
  ]) {
    assert.ok(isReadAsFilter(text.split(' ')), text);
  }
  for (const more of [{ allNamespaces: true }, { selectors: ['app=web'] }])
    assert.deepEqual(parse(['pod', 'web'], more).filterWords, ['pod', 'web']);
});

test('mistakes are usage errors that say what to write', () => {
  const cases: [string[], Partial<TargetWords>, string, RegExp][] = [
    [['frontend'], {}, 'KTRACE_E_KIND_MISSING', /pod\/frontend/],
    [['pod', 'frontend'], {}, 'KTRACE_E_KIND_MISSING', /pod\/frontend/],
    [['pod', 'frontend', 'tcp'], {}, 'KTRACE_E_KIND_MISSING', /pod\/frontend to follow it; .*'pod frontend'/],
    [['deploy', 'frontend', 'and', 'tcp'], {}, 'KTRACE_E_KIND_MISSING', /^Write deploy\/frontend to follow it\.$/],
    [['pods'], {}, 'KTRACE_E_KIND_MISSING', /^Write pods\/NAME\.$/],
    [['prot', 'tcp'], { allNamespaces: true }, 'KTRACE_E_KIND_MISSING', /pod\/prot/],
    [['cm/settings'], {}, 'KTRACE_E_KIND_UNKNOWN', /svc\//],
    [['deployment.batch/web'], {}, 'KTRACE_E_KIND_UNKNOWN', /svc\//],
    [['service.serving.knative.dev/web'], {}, 'KTRACE_E_KIND_UNKNOWN', /svc\//],
    [['pod/a', 'replicaset.example.com/web-5d9c'], {}, 'KTRACE_E_KIND_UNKNOWN', /svc\//],
    [['toString/settings'], {}, 'KTRACE_E_KIND_UNKNOWN', /svc\//],
    [['pod/'], {}, 'KTRACE_E_ARGUMENT', /^$/],
    [['pod/Not_A_Name'], {}, 'KTRACE_E_ARGUMENT', /^$/],
    [['pod/a'], { selectors: ['app=redis'] }, 'KTRACE_E_ARGUMENT', /selector/],
    [['pod/a'], { allNamespaces: true }, 'KTRACE_E_ARGUMENT', /-n/],
    [[], { selectors: [' '] }, 'KTRACE_E_ARGUMENT', /^$/],
    [[], { namespaces: ['../x'] }, 'KTRACE_E_ARGUMENT', /^$/],
  ];
  for (const [words, more, code, hint] of cases) {
    assert.throws(
      () => parse(words, more),
      (error: { code: string; hint?: string; exitCode: number }) => {
        assert.equal(error.code, code, JSON.stringify(words));
        assert.match(error.hint ?? '', hint);
        assert.equal(error.exitCode, 2);
        return true;
      },
    );
  }
});

test('any words give targets and filter, or a usage error, and nothing is lost between the two', () => {
  const word = fc.oneof(fc.string(), fc.constantFrom('pod/a', 'svc/b', 'tcp', 'port', 'ns/x'));
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (words) => {
      try {
        const { targetsIn, filter } = parseWords({ words, selectors: [], namespaces: [], allNamespaces: false });
        assert.ok(words.join(' ').endsWith(filter));
        assert.ok(targetsIn('default').length > 0);
      } catch (error) {
        assert.equal((error as { exitCode?: number }).exitCode, 2);
      }
    }),
  );
});
