/** UDP ports that VXLAN usually has: flannel's, IANA's (RFC 7348), which everybody else uses, and Weave's. */
export const VXLAN_PORTS: readonly number[] = [8472, 4789, 6784];
/** Geneve's (RFC 8926). */
export const GENEVE_PORTS: readonly number[] = [6081];

/** Ports that a tunnel of any node may have. */
export const USUAL_TUNNEL_PORTS: readonly number[] = [...VXLAN_PORTS, ...GENEVE_PORTS];
