import type { InterfaceKind } from '../../flow/open-packet.ts';
import type { Address, Link, LinkChange, LinkWatcher, NativeModule } from '../../native/types.ts';
import { messageOf } from '../../util/errors.ts';
import { Guard } from '../../util/guard.ts';
import type { Logger } from '../../util/log.ts';
import { FailedAttaches } from './failed-attaches.ts';
import { hasLinkLayer, hasPeer, interfaceKind, isIpTunnel } from './interface-kind.ts';
import type { NamedInterface } from './interface-names.ts';
import { PodAddresses } from './pod-addresses.ts';
import { Reread, type Schedule, schedule } from './reread.ts';
import { MAX_GENEVE_PORTS, MAX_UPLINKS, MAX_VXLAN_PORTS, type Tracer } from './tracer.ts';
import { uplinksOf } from './uplinks.ts';

/** Why nothing can be seen where there is nothing to attach to. */
export const NO_INTERFACES = 'no interface of a pod network and no uplink is known on this node (yet)';

/** What is not seen for want of interfaces. */
export interface InterfacesLacking {
  text: string;
  isEverything: boolean;
  failed: readonly NamedInterface[];
}

interface Known {
  link: Link;
  kind: InterfaceKind | undefined;
  /** Namespace of the pod behind it; 0 when it is not known. */
  netns: number;
}

/** The node's interfaces as they come and go; attaches the pod network's while someone follows. */
export class Interfaces {
  readonly #native: NativeModule;
  readonly #tracer: Tracer;
  readonly #log: Logger;
  readonly #watcher: LinkWatcher;
  readonly #known = new Map<number, Known>();
  /** UDP ports of tunnels, as last asked for; undefined since a link has changed. Filters ask for them with every record. */
  #tunnelPorts: { vxlan: readonly number[]; geneve: readonly number[] } | undefined;
  /** Names of removed interfaces are kept for packets that are not emitted yet. */
  readonly #names = new Map<number, string>();
  readonly #netnsUsers = new Map<number, number>();
  #ownAddresses = new Set<string>();
  #interfaceByAddress = new Map<string, number>();
  #uplinks = new Set<number>();
  /** As they were read last. */
  #addressList: readonly Address[] = [];
  #defaultRoutes: readonly number[] = [];
  #nodeAddresses: ReadonlySet<string> = new Set();
  #isActive = false;
  /** Interfaces that should be attached, or pods whose drops should be reported, and could not be. */
  failures = 0;
  /** Interfaces that were attached anew because somebody had removed or replaced what was there. */
  reattached = 0;
  onOwnAddressesChange: () => void = () => {};
  onPodAddressesChange: () => void = () => {};
  readonly guard: Guard;
  readonly #podAddresses: PodAddresses;
  readonly #addresses: Reread;
  readonly #links: Reread;
  readonly #failed = new FailedAttaches();
  readonly #nowMs: () => number;

  /** What cannot be read now is read later: an interface or an address that is not known yet is no reason to end. */
  constructor(options: { native: NativeModule; tracer: Tracer; log: Logger; schedule?: Schedule; nowMs?: () => number }) {
    this.#native = options.native;
    this.#tracer = options.tracer;
    this.#log = options.log;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    const guard = new Guard(options.log);
    this.guard = guard;
    this.#podAddresses = new PodAddresses({
      read: (link) => this.#addressesIn(link),
      changed: guard.wrap('pod addresses', () => this.onPodAddressesChange()),
    });
    const again = { guard, schedule: options.schedule ?? schedule };
    this.#addresses = new Reread({ ...again, place: 'addresses', read: () => this.#readAddresses() });
    this.#links = new Reread({ ...again, place: 'links', read: () => this.#readLinks() });
    this.#watcher = options.native.watchLinks((change) => {
      // Half of a change may have been taken in.
      if (!guard.run('link change', () => this.#onChange(change))) this.#links.soon();
    });
    this.#links.now();
  }

  /** Attaches to everything that matters, or detaches from all. */
  setActive(isActive: boolean): void {
    if (this.#isActive === isActive) return;
    this.#isActive = isActive;
    this.#tracer.expedite(() => {
      for (const known of this.#known.values()) {
        this.#settleNetns(known);
        this.#settle(known);
      }
    });
    if (isActive) this.#tracer.attachStack();
    else this.#tracer.detachStack();
  }

  /** Attaches anew where somebody has removed or replaced our filters (clsact); gives those interfaces. */
  reattach(): NamedInterface[] {
    const displaced = [...this.#known.values()].filter(({ link }) => this.#isDisplaced(link));
    for (const { link, kind } of displaced) {
      this.#log.warn({ interface: link.name }, 'somebody removed or replaced what was attached; it is attached anew');
      this.reattached += 1;
      this.#attach(link, kind, () => this.#tracer.reattach(link.ifindex));
    }
    return displaced.map(({ link, kind }) => ({ name: link.name, isOfPod: kind === 'pod' }));
  }

  nameOf(ifindex: number): string {
    return this.#known.get(ifindex)?.link.name ?? this.#names.get(ifindex) ?? `#${ifindex}`;
  }

  kindOf(ifindex: number): InterfaceKind | undefined {
    return this.#known.get(ifindex)?.kind;
  }

  /** Whether it is a pod's; one that is gone may have been, and counts as such. */
  isOfPod(ifindex: number): boolean {
    const known = this.#known.get(ifindex);
    return known === undefined || known.kind === 'pod';
  }

  /** The namespace of the pod behind a veth, by inode; undefined for all else and where the kernel did not say. */
  netnsOf(ifindex: number): number | undefined {
    return this.#known.get(ifindex)?.netns || undefined;
  }

  /** The addresses of the node's own namespace. */
  get ownAddresses(): ReadonlySet<string> {
    return this.#ownAddresses;
  }

  /** The pod network's, in the order of their names. */
  list(): { name: string; kind: string; attached: boolean }[] {
    return [...this.#known.values()]
      .flatMap(({ link, kind }) =>
        kind === undefined ? [] : [{ name: link.name, kind, attached: this.#tracer.isAttached(link.ifindex) }],
      )
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  /** What is not seen for want of interfaces, while it should be; undefined when all are attached. */
  lacking(): InterfacesLacking | undefined {
    if (!this.#isActive) return undefined;
    const list = this.list();
    if (list.length === 0) return { text: NO_INTERFACES, isEverything: true, failed: [] };
    const text = this.#failed.text();
    if (text === undefined) return undefined;
    return { text, isEverything: list.every(({ attached }) => !attached), failed: this.#failed.list() };
  }

  /** Tries again to attach what could not be attached, with growing pauses. */
  retryFailed(): void {
    for (const ifindex of this.#failed.due(this.#nowMs())) {
      const known = this.#known.get(ifindex);
      if (known !== undefined) this.#settle(known);
    }
  }

  interfaceOfAddress(ip: string): number | undefined {
    return this.#interfaceByAddress.get(ip);
  }

  /** The node's addresses as Kubernetes has them: the interface that holds one is an uplink, whatever else it is. */
  setNodeAddresses(addresses: readonly string[]): void {
    if (addresses.length === this.#nodeAddresses.size && addresses.every((ip) => this.#nodeAddresses.has(ip))) return;
    this.#nodeAddresses = new Set(addresses);
    this.#addresses.now();
  }

  /** The addresses inside the pod behind an interface, asked of the kernel; empty when there is no pod or it has none yet. */
  podAddresses(ifindex: number, nowMs: number): readonly string[] {
    const known = this.#known.get(ifindex);
    return known !== undefined && leadsToPod(known) ? this.#podAddresses.of(known.link, nowMs) : [];
  }

  /** Whether it was found inside a pod of this node. */
  isPodAddress(ip: string): boolean {
    return this.#podAddresses.has(ip);
  }

  /** Addresses inside pods that are new, maybe to the API server as well. */
  newPodAddresses(): string[] {
    return this.#podAddresses.recent(performance.now());
  }

  close(): void {
    this.#podAddresses.close();
    this.#addresses.close();
    this.#links.close();
    this.#watcher.close();
  }

  #addressesIn(link: Link): string[] {
    try {
      return this.#native
        .addresses(link.linkNetnsId)
        .filter(({ ifindex, ip }) => ifindex === link.link && !/^fe80:/i.test(ip))
        .map(({ ip }) => ip);
    } catch (error) {
      this.#log.debug({ interface: link.name, err: messageOf(error) }, 'addresses behind an interface could not be read');
      return [];
    }
  }

  #onChange(change: LinkChange): void {
    if (change.kind === 'overrun') this.#links.soon();
    else if (change.kind === 'gone') this.#onGone(change.ifindex);
    else if (change.kind === 'address' || change.kind === 'route') this.#addresses.soon();
    else this.#onNew(change.link);
  }

  #readLinks(): void {
    // First: an uplink is known by its address or route.
    this.#addresses.now();
    const links = this.#watcher.links();
    const present = new Set(links.map(({ ifindex }) => ifindex));
    for (const ifindex of [...this.#known.keys()]) if (!present.has(ifindex)) this.#onGone(ifindex);
    for (const link of links) this.#remember(link);
    this.#findUplinks();
    for (const known of this.#known.values()) this.#classify(known);
  }

  /** The node's addresses and default routes, by which its uplinks are known. */
  #readAddresses(): void {
    const addresses = this.#native.addresses();
    const own = new Set(addresses.map(({ ip }) => ip));
    this.#defaultRoutes = this.#native.defaultRouteInterfaces();
    this.#addressList = addresses;
    const hasChanged = own.size !== this.#ownAddresses.size || [...own].some((ip) => !this.#ownAddresses.has(ip));
    if (hasChanged) this.#ownAddresses = own;
    this.#interfaceByAddress = new Map(addresses.map(({ ip, ifindex }) => [ip, ifindex]));
    this.#findUplinks();
    if (hasChanged) this.onOwnAddressesChange();
  }

  #findUplinks(): void {
    const uplinks = uplinksOf({
      links: new Map([...this.#known].map(([ifindex, { link }]) => [ifindex, link])),
      addresses: this.#addressList,
      defaultRoutes: this.#defaultRoutes,
      nodeAddresses: this.#nodeAddresses,
    });
    const hasChanged = uplinks.size !== this.#uplinks.size || [...uplinks].some((ifindex) => !this.#uplinks.has(ifindex));
    this.#uplinks = uplinks;
    if (!hasChanged) return;
    this.#tellUplinks();
    for (const known of this.#known.values()) this.#classify(known);
  }

  #onNew(link: Link): void {
    const before = this.#known.get(link.ifindex)?.link;
    const known = this.#remember(link);
    if (before !== undefined && isSame(before, link)) return;
    // The IPv4 routes of an interface that goes down go without a word.
    if (known.kind === 'uplink' && !link.up) this.#addresses.soon();
    this.#findUplinks();
    this.#classify(known);
    if (this.#isActive && leadsToPod(known)) this.#podAddresses.watch(known.link, performance.now());
    const master = this.#known.get(link.master);
    if (master !== undefined && master.kind === undefined) this.#classify(master);
  }

  #remember(link: Link): Known {
    this.#tunnelPorts = undefined;
    const known = this.#known.get(link.ifindex);
    if (known !== undefined) {
      known.link = link;
      return known;
    }
    const created: Known = { link, kind: undefined, netns: 0 };
    this.#known.set(link.ifindex, created);
    this.#names.delete(link.ifindex);
    return created;
  }

  #classify(known: Known): void {
    const kind = interfaceKind(known.link, { uplinks: this.#uplinks, podMasters: this.#podMasters() });
    if (kind !== known.kind && this.#tracer.isAttached(known.link.ifindex))
      this.guard.run('detach', () => this.#tracer.detach(known.link.ifindex));
    known.kind = kind;
    this.#tellTunnels(known.link);
    this.#settleNetns(known);
    this.#settle(known);
  }

  #podMasters(): Set<number> {
    const masters = new Set<number>();
    for (const { link } of this.#known.values()) if (link.linkNetnsId >= 0 && link.master !== 0) masters.add(link.master);
    return masters;
  }

  /** UDP ports of the node's own VXLAN devices, each once. */
  vxlanPorts(): readonly number[] {
    return this.#portsOfTunnels().vxlan;
  }

  /** The same of its Geneve devices. */
  genevePorts(): readonly number[] {
    return this.#portsOfTunnels().geneve;
  }

  #portsOfTunnels(): { vxlan: readonly number[]; geneve: readonly number[] } {
    this.#tunnelPorts ??= {
      vxlan: this.#portsOf(({ vxlanPort }) => vxlanPort),
      geneve: this.#portsOf(({ genevePort }) => genevePort),
    };
    return this.#tunnelPorts;
  }

  #portsOf(portOf: (link: Link) => number): number[] {
    return [...new Set([...this.#known.values()].map(({ link }) => portOf(link)).filter((port) => port !== 0))];
  }

  /** Which packets are tunnels', when this link has a say in it. */
  #tellTunnels(link: Link): void {
    if (link.vxlanPort !== 0) this.#tracer.setVxlanPorts(this.#first('VXLAN', this.vxlanPorts(), MAX_VXLAN_PORTS));
    if (link.genevePort !== 0) this.#tracer.setGenevePorts(this.#first('Geneve', this.genevePorts(), MAX_GENEVE_PORTS));
    if (isIpTunnel(link)) this.#tracer.setIpTunnels([...this.#known.values()].some((known) => isIpTunnel(known.link)));
  }

  #tellUplinks(): void {
    const uplinks = [...this.#uplinks].sort((a, b) => a - b);
    if (uplinks.length > MAX_UPLINKS)
      this.#log.warn({ uplinks }, `tunnels are looked into at the first ${MAX_UPLINKS} uplinks only`);
    this.#tracer.setUplinks(uplinks.slice(0, MAX_UPLINKS));
  }

  #first(what: string, ports: readonly number[], most: number): readonly number[] {
    if (ports.length > most) this.#log.warn({ ports }, `only the first ${most} ${what} ports are looked into`);
    return ports.slice(0, most);
  }

  /** The namespaces behind pod interfaces are the node's own: drops inside them are reported. Asked while somebody follows: a program tells it. */
  #settleNetns(known: Known): void {
    if (!this.#isActive) return;
    const netns = known.kind === 'pod' && hasPeer(known.link) ? this.#peerNetns(known.link) : 0;
    if (netns === known.netns) return;
    this.#useNetns(known.netns, -1);
    known.netns = netns;
    this.#useNetns(netns, 1);
  }

  #peerNetns(link: Link): number {
    try {
      return this.#tracer.peerNetns(link.ifindex);
    } catch (error) {
      this.#log.debug({ interface: link.name, err: messageOf(error) }, 'the namespace behind an interface could not be told');
      return 0;
    }
  }

  #useNetns(netns: number, by: number): void {
    if (netns === 0) return;
    const users = (this.#netnsUsers.get(netns) ?? 0) + by;
    if (users > 0) this.#netnsUsers.set(netns, users);
    else this.#netnsUsers.delete(netns);
    try {
      this.#tracer.setPodNetns(netns, users > 0);
    } catch (error) {
      // The kernel's map is full: drops inside this one pod are not reported.
      this.failures += 1;
      this.#log.warn({ netns, err: messageOf(error) }, 'drops inside a pod cannot be told');
    }
  }

  #settle(known: Known): void {
    const { ifindex } = known.link;
    if (!this.#isActive || known.kind === undefined) {
      this.#failed.delete(ifindex);
      this.guard.run('detach', () => this.#tracer.detach(ifindex));
      return;
    }
    if (this.#tracer.isAttached(ifindex)) return;
    const { kind } = known;
    this.#attach(known.link, kind, () => this.#tracer.attach(ifindex, kind, hasLinkLayer(known.link)));
  }

  #isDisplaced(link: Link): boolean {
    try {
      return this.#tracer.isDisplaced(link.ifindex);
    } catch (error) {
      this.#log.debug(
        { interface: link.name, err: messageOf(error) },
        'whether an interface is still attached could not be told',
      );
      return false;
    }
  }

  #attach({ ifindex, name }: Link, kind: InterfaceKind | undefined, attach: () => void): void {
    try {
      attach();
      this.#failed.delete(ifindex);
    } catch (error) {
      // An interface that is removed while it is attached is no failure: its removal was seen, or is about to be.
      if ((error as { code?: string }).code === 'ENODEV') {
        this.#failed.delete(ifindex);
        return;
      }
      this.failures += 1;
      this.#failed.add(ifindex, { name, isOfPod: kind === 'pod' }, messageOf(error), this.#nowMs());
      this.#log.warn({ interface: name, err: messageOf(error) }, 'an interface could not be attached');
    }
  }

  #onGone(ifindex: number): void {
    const known = this.#known.get(ifindex);
    if (known === undefined) return;
    this.#useNetns(known.netns, -1);
    this.#podAddresses.forget(ifindex);
    this.#failed.delete(ifindex);
    this.guard.run('detach', () => this.#tracer.detach(ifindex));
    this.#known.delete(ifindex);
    this.#tunnelPorts = undefined;
    this.#names.set(ifindex, known.link.name);
    if (this.#names.size > 4096) {
      const oldest = this.#names.keys().next().value;
      if (oldest !== undefined) this.#names.delete(oldest);
    }
    this.#tellTunnels(known.link);
    if (known.kind === 'uplink') this.#addresses.soon();
    this.#findUplinks();
  }
}

function leadsToPod({ kind, link }: Known): boolean {
  return kind === 'pod' && link.linkNetnsId >= 0;
}

function isSame(a: Link, b: Link): boolean {
  return (
    a.name === b.name &&
    a.kind === b.kind &&
    a.link === b.link &&
    a.linkNetnsId === b.linkNetnsId &&
    a.master === b.master &&
    a.vxlanPort === b.vxlanPort &&
    a.genevePort === b.genevePort &&
    a.up === b.up
  );
}
