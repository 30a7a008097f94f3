import { attributeJson } from './log-record.ts';

/** Who exports: attributes of the resource, and the version of ktrace. */
export interface ExportSource {
  node: string;
  hostName: string;
  /** Changes at every start. */
  instance: string;
  version: string;
  /** `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`; they win. */
  attributes: Readonly<Record<string, string>>;
}

/** The attributes of the resource that all log records of an agent share. */
function resourceAttributes({ node, hostName, instance, version, attributes }: ExportSource): Record<string, string> {
  return {
    'service.name': 'ktrace',
    'service.version': version,
    'service.instance.id': instance,
    'host.name': hostName,
    'k8s.node.name': node,
    ...attributes,
  };
}

/** What stands before and behind the log records, apart by commas, of an `ExportLogsServiceRequest` in JSON. */
export function requestFrame(source: ExportSource): { head: string; tail: string } {
  const attributes = Object.entries(resourceAttributes(source)).map(([name, value]) =>
    // Names that come from outside are escaped; ours need none.
    attributeJson(JSON.stringify(name).slice(1, -1), 'string', value),
  );
  const scope = `{"name":"ktrace","version":${JSON.stringify(source.version)}}`;
  return {
    head: `{"resourceLogs":[{"resource":{"attributes":[${attributes.join(',')}]},"scopeLogs":[{"scope":${scope},"logRecords":[`,
    tail: ']}]}]}',
  };
}
