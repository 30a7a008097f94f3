import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { endpointChain, nftEndpointChain, nftServiceChains, type PortName, serviceChains } from '../../src/kube/chains.ts';
import { captured, fixture } from './fixtures.ts';

function portsOf(mode: 'iptables' | 'nftables'): PortName[] {
  return captured(mode).Service.flatMap((service) =>
    service.spec.ports.map((port: { name?: string; protocol: string }) => ({
      namespace: service.metadata.namespace,
      name: service.metadata.name,
      port: port.name ?? '',
      proto: port.protocol.toLowerCase(),
    })),
  );
}

function endpointsOf(mode: 'iptables' | 'nftables', wanted: PortName): { ip: string; port: number }[] {
  return captured(mode)
    .EndpointSlice.filter((slice) => slice.metadata.namespace === wanted.namespace)
    .filter((slice) => slice.metadata.labels['kubernetes.io/service-name'] === wanted.name)
    .flatMap((slice) =>
      (slice.ports ?? [])
        .filter(
          (port: { name?: string; protocol: string }) =>
            port.name === wanted.port && port.protocol.toLowerCase() === wanted.proto,
        )
        .flatMap((port: { port: number }) =>
          (slice.endpoints ?? []).flatMap((one: { addresses: string[] }) => one.addresses.map((ip) => ({ ip, port: port.port }))),
        ),
    );
}

/** Chain names that a dump declares, by prefix. */
function declared(text: string, pattern: RegExp): Set<string> {
  return new Set([...text.matchAll(pattern)].map((match) => match[1] as string));
}

describe('chain names of a live kube-proxy in iptables mode', () => {
  const text = fixture('iptables-save-host1.txt') + fixture('iptables-save-host2.txt');
  const ports = portsOf('iptables');

  it('every KUBE-SVC, -SVL, -EXT and -FW chain it wrote is one that we compute', () => {
    const ours = new Set(ports.flatMap((port) => Object.values(serviceChains(port))));
    const theirs = declared(text, /^:(KUBE-(?:SVC|SVL|EXT|FW)-\w+) /gm);
    assert.ok(theirs.size > 30, `only ${theirs.size} chains in the fixture`);
    assert.deepEqual(
      [...theirs].filter((name) => !ours.has(name)),
      [],
    );
  });

  it('every Service port with a cluster IP and endpoints has the chain that its rule jumps to', () => {
    let checked = 0;
    for (const port of ports) {
      const comment = `${port.namespace}/${port.name}${port.port ? `:${port.port}` : ''} cluster IP`;
      const rule = fixture('iptables-save-host2.txt')
        .split('\n')
        .find(
          (line) =>
            line.startsWith('-A KUBE-SERVICES') &&
            line.includes(`"${comment}"`) &&
            line.includes(`-p ${port.proto}`) &&
            line.includes('-j KUBE-SV'),
        );
      if (!rule) continue;
      const { svc, svl } = serviceChains(port);
      assert.ok(rule.endsWith(`-j ${svc}`) || rule.endsWith(`-j ${svl}`), rule);
      checked += 1;
    }
    assert.ok(checked >= 17, `only ${checked} rules checked`);
  });

  it('the endpoint chains are equal to those it wrote, none missing, none else', () => {
    const ours = new Set(
      ports.flatMap((port) => endpointsOf('iptables', port).map((one) => endpointChain(port, one.ip, one.port))),
    );
    const theirs = declared(text, /^:(KUBE-SEP-\w+) /gm);
    assert.ok(theirs.size > 30);
    assert.deepEqual(
      [...theirs].filter((name) => !ours.has(name)),
      [],
    );
    const targets = [...text.matchAll(/^-A (KUBE-SEP-\w+) -p (\w+) .*"([^":]+):?([^"]*)".* --to-destination ([\d.]+):(\d+)$/gm)];
    assert.ok(targets.length > 30);
    for (const [, chain, proto, owner, port, ip, number] of targets) {
      const [namespace, name] = (owner as string).split('/') as [string, string];
      assert.equal(
        endpointChain({ namespace, name, port: port as string, proto: proto as 'tcp' }, ip as string, Number(number)),
        chain,
      );
    }
  });

  it('hashes an unnamed port by the name of its Service alone', () => {
    const port: PortName = { namespace: 'default', name: 'redis-master', port: '', proto: 'tcp' };
    assert.equal(serviceChains(port).svc, 'KUBE-SVC-GGJXVPNFZDFEEY5C');
  });

  it('hashes an IPv6 endpoint in brackets', () => {
    const port: PortName = { namespace: 'n', name: 's', port: '', proto: 'tcp' };
    assert.match(endpointChain(port, 'fd00::1', 80), /^KUBE-SEP-[A-Z2-7]{16}$/);
    assert.notEqual(endpointChain(port, 'fd00::1', 80), endpointChain(port, 'fd00::2', 80));
  });
});

describe('chain names of a live kube-proxy in nftables mode', () => {
  const text = fixture('nft-kube-proxy-host2.txt');
  const ports = portsOf('nftables');

  it('every service, external, local and firewall chain it wrote is one that we compute', () => {
    const ours = new Set(ports.flatMap((port) => Object.values(nftServiceChains(port))));
    const theirs = declared(text, /^\tchain ((?:service|external|local|firewall)-[A-Z2-7]{8}-\S+) \{/gm);
    assert.ok(theirs.size > 20, `only ${theirs.size} chains in the fixture`);
    assert.deepEqual(
      [...theirs].filter((name) => !ours.has(name)),
      [],
    );
  });

  it('the endpoint chains of a Service with session affinity are equal', () => {
    const port: PortName = { namespace: 'shop', name: 'sticky', port: 'http', proto: 'tcp' };
    const ours = endpointsOf('nftables', port).map((one) => nftEndpointChain(port, one.ip, one.port));
    const theirs = declared(text, /^\tchain (endpoint-\S+) \{/gm);
    assert.equal(theirs.size, 2);
    assert.deepEqual(new Set(ours), theirs);
  });

  it('cuts a name that would not fit and keeps its hash', () => {
    const { service } = nftServiceChains({
      namespace: 'n'.repeat(63),
      name: 's'.repeat(63),
      port: 'p'.repeat(120),
      proto: 'tcp',
    });
    assert.ok(service.endsWith('...'));
    assert.equal(service.length, 'service-'.length + 240);
  });
});
