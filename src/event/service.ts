/** A port of a Service. */
export interface ServicePortState {
  /** Empty when it has none. */
  name: string;
  proto: string;
  port: number;
  nodePort?: number;
}

/** A Service as it was for a while. */
export interface ServiceState {
  uid?: string;
  /** `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`. */
  type?: string;
  /** Its cluster addresses; none of a headless one. */
  ips: readonly string[];
  externalIps?: readonly string[];
  balancerIps?: readonly string[];
  ports: ServicePortState[];
}

/** One who answered for a Service for a while. */
export interface EndpointState {
  ip: string;
  node?: string;
  pod?: { namespace: string; name: string; uid: string };
  /** It was listed as not ready: kube-proxy sends nothing there while others are. */
  ready?: false;
}

/** Where an endpoint answers, by the names of the Service's ports. */
export type EndpointPorts = { name: string; proto: string; port: number }[];

/** In Unix milliseconds; without `toMs` it lasts still. */
interface Interval {
  fromMs: number;
  toMs?: number;
}

/** A Service as a node's recording knows it, over a time: what it was in turn, and which endpoints it had. */
export interface RecordedService {
  namespace: string;
  name: string;
  states: (ServiceState & Interval)[];
  endpoints: (EndpointState & Interval & { ports: EndpointPorts })[];
}
