/** A Kubernetes object as JSON. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: Record<string, unknown> & {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
  };
  [key: string]: unknown;
}

/** A resource the API server knows. */
export interface Resource {
  /** `/api/v1` or `/apis/GROUP/VERSION`. */
  root: string;
  /** Group as RBAC names it; empty for core. */
  group: string;
  plural: string;
  kind: string;
  apiVersion: string;
  namespaced: boolean;
}
