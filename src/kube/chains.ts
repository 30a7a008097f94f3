import { createHash } from 'node:crypto';

/** A Service's port as kube-proxy names it. `port` is the port's name, empty when it has none. */
export interface PortName {
  namespace: string;
  name: string;
  port: string;
  proto: 'tcp' | 'udp' | 'sctp';
}

/**
 * The chains that kube-proxy's iptables mode makes for a Service's port, since 1.25 (`KUBE-EXT-` had another name before).
 * Source: pkg/proxy/iptables/proxier.go, `portProtoHash`.
 */
export interface ServiceChains {
  svc: string;
  svl: string;
  ext: string;
  fw: string;
}

export function serviceChains(port: PortName): ServiceChains {
  const id = shortHash(hashedName(port) + port.proto);
  return { svc: `KUBE-SVC-${id}`, svl: `KUBE-SVL-${id}`, ext: `KUBE-EXT-${id}`, fw: `KUBE-FW-${id}` };
}

/**
 * The chain of one endpoint of a Service's port: `KUBE-SEP-…`.
 * Source: pkg/proxy/iptables/proxier.go, `servicePortEndpointChainName`; an IPv6 address is hashed in brackets.
 */
export function endpointChain(port: PortName, ip: string, portNumber: number): string {
  const endpoint = ip.includes(':') ? `[${ip}]:${portNumber}` : `${ip}:${portNumber}`;
  return `KUBE-SEP-${shortHash(hashedName(port) + port.proto + endpoint)}`;
}

/**
 * The chains that kube-proxy's nftables mode makes for a Service's port, in the tables `ip kube-proxy` and `ip6 kube-proxy`.
 * Source: pkg/proxy/nftables/proxier.go, `servicePortChainNameBase`.
 */
export interface NftServiceChains {
  service: string;
  local: string;
  external: string;
  firewall: string;
}

export function nftServiceChains(port: PortName): NftServiceChains {
  const base = nftBase(nftName(port));
  return { service: `service-${base}`, local: `local-${base}`, external: `external-${base}`, firewall: `firewall-${base}` };
}

/**
 * The chain of one endpoint in nftables mode; since 1.33 kube-proxy makes one only for a Service with session affinity.
 * A chain's name has no colon, so an IPv6 address is written with dots.
 */
export function nftEndpointChain(port: PortName, ip: string, portNumber: number): string {
  return `endpoint-${nftBase(`${nftName(port)}__${ip.replaceAll(':', '.')}/${portNumber}`)}`;
}

/** nft names are cut so that the longest prefix still fits into the kernel's 256 bytes. */
const NFT_BASE_LENGTH = 240;

function nftName(port: PortName): string {
  return `${port.namespace}/${port.name}/${port.proto}/${port.port}`;
}

function nftBase(name: string): string {
  const base = `${base32(name, 8)}-${name}`;
  return base.length > NFT_BASE_LENGTH ? `${base.slice(0, NFT_BASE_LENGTH - 3)}...` : base;
}

function hashedName(port: PortName): string {
  const suffix = port.port === '' ? '' : `:${port.port}`;
  return `${port.namespace}/${port.name}${suffix}`;
}

function shortHash(text: string): string {
  return base32(text, 16);
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** The first characters of the RFC 4648 base32 of the text's SHA-256. */
function base32(text: string, length: number): string {
  const digest = createHash('sha256').update(text).digest();
  let out = '';
  let bits = 0;
  let value = 0;
  for (const byte of digest) {
    value = (value << 8) | byte;
    bits += 8;
    for (; bits >= 5 && out.length < length; bits -= 5) out += ALPHABET[(value >>> (bits - 5)) & 31];
    if (out.length >= length) break;
    value &= (1 << bits) - 1;
  }
  return out;
}
