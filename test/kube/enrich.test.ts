import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Endpoint, FlowEvent, Hop, PacketEvent, PodRef, QuotedFlow, Translation } from '../../src/event/types.ts';
import { enrichFlow, enrichPacket } from '../../src/kube/enrich.ts';
import type { NamesIndex } from '../../src/kube/index/names-index.ts';
import { capturedIndex } from './build.ts';
import { captured, fixture } from './fixtures.ts';

const NOW = Date.parse('2026-11-22T18:10:30Z');

function end(ip: string, port?: number): Endpoint {
  return port === undefined ? { ip } : { ip, port };
}

function dnat(before: Endpoint, after: Endpoint): Translation {
  return { kind: 'dnat', before, after, seenBy: 'conntrack' };
}

function packet(over: Partial<PacketEvent>): PacketEvent {
  return {
    v: 1,
    kind: 'packet',
    id: 'x',
    time: '2026-11-22T18:10:30Z',
    nodes: ['host1'],
    proto: 'tcp',
    len: 60,
    dir: 'request',
    src: end('10.244.0.2', 40000),
    dst: end('10.98.9.147', 6379),
    hops: [],
    verdict: 'unknown',
    fingerprint: 'x',
    ...over,
  };
}

const iptables = capturedIndex('iptables', 'host1', () => NOW);

function pod(index: NamesIndex, ip: string): PodRef {
  const owner = index.ownerOf(ip, NOW);
  assert.equal(owner?.kind, 'pod');
  return (owner as { pod: PodRef }).pod;
}

/** The chains that the captured rules walk for a packet to ip:port, followed from rule to rule to this endpoint. */
function walk(rules: string, entry: RegExp, to: string): string[] | undefined {
  const jumps = (chain: string) =>
    [...rules.matchAll(new RegExp(`^-A ${chain} .*-j (KUBE-(?:SVC|SVL|SEP|EXT|FW)-\\w+)$`, 'gm'))].map(
      (match) => match[1] as string,
    );
  const reach = (chain: string): string[] | undefined => {
    if (new RegExp(`^-A ${chain} .*--to-destination ${to.replaceAll('.', '\\.')}$`, 'm').test(rules)) return [chain];
    for (const next of jumps(chain)) {
      const rest = reach(next);
      if (rest) return [chain, ...rest];
    }
    return undefined;
  };
  const first = entry.exec(rules)?.[1];
  return first === undefined ? undefined : reach(first);
}

describe('a packet through a Service', () => {
  it('names both ends, the Service, the endpoint pod and the chains', () => {
    const event = packet({ nat: [dnat(end('10.98.9.147', 6379), end('10.244.1.2', 6379))] });
    enrichPacket(event, iptables, NOW);
    assert.equal(event.src.pod?.owner, 'Deployment/frontend');
    assert.equal(event.src.pod?.labels?.['tier'], 'frontend');
    assert.deepEqual(event.dst, {
      ip: '10.98.9.147',
      port: 6379,
      service: { namespace: 'default', name: 'redis-master', port: '' },
    });
    const [nat] = event.nat ?? [];
    assert.equal(nat?.after.pod?.name, 'redis-master-fd45c7f9-fvrx2');
    assert.equal(nat?.after.pod?.node, 'host2');
    assert.equal(nat?.service, 'default/redis-master');
    assert.deepEqual(nat?.chains, ['KUBE-SVC-GGJXVPNFZDFEEY5C', 'KUBE-SEP-OWLXRPYBS4VVMIHH']);
  });

  it('walks on every Service of the cluster exactly the chains that the rules of a live kube-proxy walk', () => {
    const index = capturedIndex('iptables', 'host2', () => NOW);
    const rules = fixture('iptables-save-host2.txt');
    const seen: string[] = [];
    for (const service of captured('iptables').Service) {
      for (const port of service.spec.ports) {
        const proto = port.protocol.toLowerCase();
        const slices = captured('iptables').EndpointSlice.filter(
          (one) => one.metadata.labels['kubernetes.io/service-name'] === service.metadata.name,
        );
        for (const slice of slices) {
          const number = slice.ports?.find((one: { name?: string }) => one.name === (port.name ?? ''))?.port;
          for (const ip of (slice.endpoints ?? []).flatMap((one: { addresses: string[] }) => one.addresses)) {
            const entries: [string, number, RegExp][] = [];
            const address = (to: string) =>
              new RegExp(`^-A KUBE-SERVICES -d ${to}/32 -p ${proto} .*--dport ${port.port} -j (KUBE-\\w+-\\w+)$`, 'm');
            for (const to of [
              service.spec.clusterIP,
              ...(service.spec.externalIPs ?? []),
              ...(service.status.loadBalancer.ingress ?? []).map((one: { ip: string }) => one.ip),
            ]) {
              entries.push([to, port.port, address(to)]);
            }
            if (port.nodePort)
              entries.push([
                '192.168.60.12',
                port.nodePort,
                new RegExp(`^-A KUBE-NODEPORTS -p ${proto} .*--dport ${port.nodePort} -j (KUBE-\\w+-\\w+)$`, 'm'),
              ]);
            for (const [to, toPort, entry] of entries) {
              const theirs = walk(rules, entry, `${ip}:${number}`);
              if (!theirs) continue;
              const event = packet({ proto, dst: end(to, toPort), nat: [dnat(end(to, toPort), end(ip, number))] });
              enrichPacket(event, index, NOW);
              assert.deepEqual(event.nat?.[0]?.chains, theirs, `${service.metadata.name} by ${to}:${toPort}`);
              seen.push(theirs.map((chain) => chain.slice(5, 8)).join('-'));
            }
          }
        }
      }
    }
    assert.deepEqual([...new Set(seen)].sort(), ['EXT-SVC-SEP', 'FW--EXT-SVC-SEP', 'SVC-SEP', 'SVL-SEP']);
    assert.ok(seen.length > 35, `only ${seen.length} ways`);
  });

  it('from outside takes the local chain of a Service with externalTrafficPolicy Local', () => {
    const index = capturedIndex('iptables', 'host2', () => NOW);
    const event = packet({
      nodes: ['host2'],
      src: end('203.0.113.99', 5000),
      dst: end('192.168.60.12', 30081),
      nat: [dnat(end('192.168.60.12', 30081), end('10.244.1.4', 80))],
    });
    enrichPacket(event, index, NOW);
    assert.equal(event.src.world, true);
    assert.equal(event.dst.node, 'host2');
    assert.deepEqual(event.nat?.[0]?.chains, [
      'KUBE-EXT-ABHQ77G336E7JX3F',
      'KUBE-SVL-ABHQ77G336E7JX3F',
      'KUBE-SEP-5CURNXZIIVAAIMC7',
    ]);
    assert.equal(event.nat?.[0]?.service, 'shop/local-only:http');
  });

  it('that never came, because the packet was dropped at the node port, leaves the Service to be told', () => {
    const index = capturedIndex('iptables', 'host2', () => NOW);
    const named = (over: Partial<PacketEvent>, port = 30081) => {
      const event = packet({ nodes: ['host2'], src: end('203.0.113.99', 5000), dst: end('192.168.60.12', port), ...over });
      enrichPacket(event, index, NOW);
      return event.dst;
    };
    const service = { namespace: 'shop', name: 'local-only', port: 'http' };
    assert.deepEqual(named({ verdict: 'dropped' }), { ...end('192.168.60.12', 30081), service });
    assert.deepEqual(named({ verdict: 'dropped', proto: 'udp' }), { ...end('192.168.60.12', 30081), node: 'host2' });
    assert.deepEqual(named({ verdict: 'dropped' }, 22), { ...end('192.168.60.12', 22), node: 'host2' });
    assert.deepEqual(named({ verdict: 'forwarded' }), { ...end('192.168.60.12', 30081), node: 'host2' });
  });

  it('is named on its way back, too', () => {
    const event = packet({
      dir: 'reply',
      src: end('10.244.1.2', 6379),
      dst: end('10.244.0.2', 40000),
      nat: [dnat(end('10.244.1.2', 6379), end('10.98.9.147', 6379))],
    });
    enrichPacket(event, iptables, NOW);
    assert.deepEqual(event.nat?.[0]?.chains, ['KUBE-SVC-GGJXVPNFZDFEEY5C', 'KUBE-SEP-OWLXRPYBS4VVMIHH']);
    assert.equal(event.nat?.[0]?.after.service?.name, 'redis-master');
    assert.equal(event.nat?.[0]?.before.pod?.node, 'host2');
  });

  it('names KUBE-POSTROUTING for a pod that reaches itself, and for no other masquerade', () => {
    const snat = (ip: string): Translation => ({
      kind: 'snat',
      before: end(ip, 40000),
      after: end('10.244.0.1', 40000),
      seenBy: 'conntrack',
    });
    const hairpin = packet({
      src: end('10.244.1.2', 40000),
      nat: [dnat(end('10.98.9.147', 6379), end('10.244.1.2', 6379)), snat('10.244.1.2')],
    });
    enrichPacket(hairpin, iptables, NOW);
    assert.deepEqual(hairpin.nat?.[1]?.chains, ['KUBE-POSTROUTING']);
    const other = packet({ nat: [snat('10.244.0.2')], dst: end('8.8.8.8', 53) });
    enrichPacket(other, iptables, NOW);
    assert.equal(other.nat?.[0]?.chains, undefined);
    assert.equal(other.nat?.[0]?.after.node, 'host1');
  });

  it('names the chains of nftables mode, which are those of a live kube-proxy', () => {
    const index = capturedIndex('nftables', 'host2', () => NOW);
    const rules = fixture('nft-kube-proxy-host2.txt');
    const service = captured('nftables').Service.find((one) => one.metadata.name === 'sticky');
    const event = packet({
      dst: end(service.spec.clusterIP, 80),
      nat: [dnat(end(service.spec.clusterIP, 80), end('10.244.1.8', 80))],
    });
    enrichPacket(event, index, NOW);
    const chains = event.nat?.[0]?.chains ?? [];
    assert.deepEqual(
      chains.map((chain) => chain.slice(0, 8)),
      ['service-', 'endpoint'],
    );
    for (const chain of chains) assert.ok(rules.includes(`chain ${chain} {`), chain);
  });

  it('names no chains while kube-proxy’s mode is not known, nor one for a pod that reaches itself', () => {
    const index = capturedIndex('iptables', 'host1', () => NOW);
    index.proxyMode = undefined;
    const snat: Translation = {
      kind: 'snat',
      before: end('10.244.1.2', 40000),
      after: end('10.244.0.1', 40000),
      seenBy: 'conntrack',
    };
    const event = packet({
      src: end('10.244.1.2', 40000),
      nat: [dnat(end('10.98.9.147', 6379), end('10.244.1.2', 6379)), snat],
    });
    enrichPacket(event, index, NOW);
    assert.equal(event.nat?.[0]?.service, 'default/redis-master');
    assert.deepEqual(
      event.nat?.map(({ chains }) => chains),
      [undefined, undefined],
    );
  });

  it('names no chains where kube-proxy makes none', () => {
    const index = capturedIndex('iptables', 'host1', () => NOW);
    index.proxyMode = 'ipvs';
    const event = packet({ nat: [dnat(end('10.98.9.147', 6379), end('10.244.1.2', 6379))] });
    enrichPacket(event, index, NOW);
    assert.equal(event.nat?.[0]?.service, 'default/redis-master');
    assert.equal(event.nat?.[0]?.chains, undefined);
  });
});

describe('an end of a packet', () => {
  it('is the node for its own addresses, nobody for multicast, and unknown, not the world, inside the pods’ ranges', () => {
    const event = packet({ proto: 'icmp', src: end('10.244.1.0'), dst: end('224.0.0.1') });
    enrichPacket(event, iptables, NOW);
    assert.deepEqual(event.src, { ip: '10.244.1.0', node: 'host2' });
    assert.deepEqual(event.dst, { ip: '224.0.0.1' });
    const unknown = packet({ src: end('10.244.2.77'), dst: end('8.8.8.8') });
    enrichPacket(unknown, iptables, NOW);
    assert.deepEqual([unknown.src, unknown.dst], [{ ip: '10.244.2.77' }, { ip: '8.8.8.8', world: true }]);
  });

  it('is the Service without a port for a ping to a ClusterIP', () => {
    const event = packet({ proto: 'icmp', dst: end('10.98.9.147') });
    enrichPacket(event, iptables, NOW);
    assert.deepEqual(event.dst.service, { namespace: 'default', name: 'redis-master', port: '' });
  });

  it('is told for the flow that an ICMP error quotes', () => {
    const about = { proto: 'tcp', src: end('10.244.0.2', 40000), dst: end('10.96.0.10', 53) };
    const event = packet({ proto: 'icmp', icmp: { type: 3, code: 3, name: 'port-unreachable', about } });
    enrichPacket(event, iptables, NOW);
    assert.equal(event.icmp?.about?.src.pod?.node, 'host1');
    assert.equal(event.icmp?.about?.dst.service?.port, 'dns-tcp');
  });

  for (const dir of ['request', 'reply'] as const) {
    it(`is told for a translated ${dir} that an ICMP error quotes, with Service, endpoint and chains before and after`, () => {
      const [client, service, endpoint] = [end('10.244.0.2', 40000), end('10.98.9.147', 6379), end('10.244.1.2', 6379)];
      const about: QuotedFlow =
        dir === 'request'
          ? { proto: 'tcp', src: client, dst: service, dir, nat: [dnat({ ...service }, { ...endpoint })] }
          : { proto: 'tcp', src: endpoint, dst: client, dir, nat: [dnat({ ...endpoint }, { ...service })] };
      const event = packet({ proto: 'icmp', icmp: { type: 3, code: 3, name: 'port-unreachable', about } });
      enrichPacket(event, iptables, NOW);
      const [from, to] = [pod(iptables, '10.244.0.2'), pod(iptables, '10.244.1.2')];
      const redis = { namespace: 'default', name: 'redis-master', port: '' };
      const ends = dir === 'request' ? [{ pod: from }, { service: redis }] : [{ pod: to }, { pod: from }];
      assert.deepEqual(
        [about.src, about.dst],
        [
          { ...about.src, ...ends[0] },
          { ...about.dst, ...ends[1] },
        ],
      );
      const [nat] = about.nat ?? [];
      const [told, behind] = dir === 'request' ? [nat?.before, nat?.after] : [nat?.after, nat?.before];
      assert.deepEqual(
        [told, behind],
        [
          { ...service, service: redis },
          { ...endpoint, pod: to },
        ],
      );
      assert.equal(nat?.service, 'default/redis-master');
      assert.deepEqual(nat?.chains, ['KUBE-SVC-GGJXVPNFZDFEEY5C', 'KUBE-SEP-OWLXRPYBS4VVMIHH']);
    });
  }

  it('has one owner only when it is told again', () => {
    const event = packet({ src: { ip: '10.244.0.2', port: 1, world: true } });
    enrichPacket(event, iptables, NOW);
    assert.equal(event.src.world, undefined);
    assert.ok(event.src.pod);
  });
});

describe('the interface', () => {
  const hop = (name: string, dir: 'in' | 'out'): Hop => ({ node: 'host1', if: name, dir, atNs: 0 });
  const sender: PodRef = { namespace: 'n', name: 'sender', uid: 's' };
  const receiver: PodRef = { namespace: 'n', name: 'receiver', uid: 'r' };
  const podOfHop = (one: Hop) =>
    ({ vethS: { pod: sender, ips: ['10.244.0.2', 'fd00::2'] }, vethR: { pod: receiver, ips: ['10.244.0.3'] } })[one.if];

  it('decides who sent and who got a packet before the addresses do', () => {
    const event = packet({ dst: end('10.244.0.3', 80), hops: [hop('vethS', 'in'), hop('cni0', 'in'), hop('vethR', 'out')] });
    enrichPacket(event, iptables, NOW, podOfHop);
    assert.equal(event.src.pod, sender);
    assert.equal(event.dst.pod, receiver);
  });

  it('names the endpoint after the translation, not the Service’s address', () => {
    const event = packet({
      nat: [dnat(end('10.98.9.147', 6379), end('10.244.0.3', 6379))],
      hops: [hop('vethS', 'in'), hop('vethR', 'out')],
    });
    enrichPacket(event, iptables, NOW, podOfHop);
    assert.equal(event.dst.pod, undefined);
    assert.equal(event.dst.service?.name, 'redis-master');
    assert.equal(event.nat?.[0]?.after.pod, receiver);
  });

  it('says that a packet which a bridge floods to several pods is the one’s that has the address, and nothing of multicast', () => {
    const flooded = packet({ dst: end('10.244.0.3', 80), hops: [hop('vethS', 'out'), hop('vethR', 'out')] });
    enrichPacket(flooded, iptables, NOW, podOfHop);
    assert.equal(flooded.dst.pod, receiver);
    const floodedElsewhere = packet({ dst: end('10.244.0.4', 80), hops: [hop('vethS', 'out'), hop('vethR', 'out')] });
    enrichPacket(floodedElsewhere, iptables, NOW, podOfHop);
    assert.equal(floodedElsewhere.dst.pod, pod(iptables, '10.244.0.4'));
    const multicast = packet({ dst: end('239.1.1.1', 80), hops: [hop('vethS', 'in'), hop('vethR', 'out')] });
    enrichPacket(multicast, iptables, NOW, podOfHop);
    assert.equal(multicast.dst.pod, undefined);
  });

  it('does not name a pod that forwards as an end of what it forwards', () => {
    const [inside, world] = [pod(iptables, '10.244.0.4'), '10.8.0.5'];
    // Out of a VPN's pod come packets of its clients, and of other pods; answers go into it.
    for (const [ip, owner] of [
      [world, undefined],
      ['10.244.0.4', inside],
    ] as const) {
      const sent = packet({ src: end(ip, 40000), dst: end('203.0.113.9', 443), hops: [hop('vethS', 'in'), hop('eth0', 'out')] });
      enrichPacket(sent, iptables, NOW, podOfHop);
      assert.deepEqual(sent.src, owner === undefined ? { ...end(ip, 40000), world: true } : { ...end(ip, 40000), pod: owner });
      const answer = packet({
        src: end('203.0.113.9', 443),
        dst: end(ip, 40000),
        hops: [hop('eth0', 'in'), hop('vethR', 'out')],
      });
      enrichPacket(answer, iptables, NOW, podOfHop);
      assert.equal(answer.dst.pod, owner);
    }
  });

  it('names the pod for what no router forwards, such as a neighbour solicitation', () => {
    for (const ip of ['fe80::1', '::']) {
      const event = packet({ proto: 'icmp6', src: end(ip), dst: end('ff02::1'), hops: [hop('vethS', 'in')] });
      enrichPacket(event, iptables, NOW, podOfHop);
      assert.equal(event.src.pod, sender);
    }
  });
});

describe('a flow', () => {
  it('is named like a request', () => {
    const flow: FlowEvent = {
      v: 1,
      kind: 'flow',
      id: 'f',
      state: 'open',
      node: 'host1',
      proto: 'udp',
      src: end('10.244.0.2', 5000),
      dst: end('10.96.0.10', 53),
      nat: [dnat(end('10.96.0.10', 53), end('10.244.0.4', 53))],
      packets: { request: 1, reply: 1 },
      bytes: { request: 1, reply: 1 },
      startTime: '',
      endTime: '',
    };
    enrichFlow(flow, iptables, NOW);
    assert.equal(flow.nat?.[0]?.service, 'kube-system/kube-dns:dns');
    assert.deepEqual(flow.nat?.[0]?.chains, ['KUBE-SVC-TCOU7JCQXEZGVUNU', 'KUBE-SEP-WXWGHGKZOCNYRYI7']);
    assert.equal(flow.nat?.[0]?.after.pod?.labels?.['k8s-app'], 'kube-dns');
  });
});
