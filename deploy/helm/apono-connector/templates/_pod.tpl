{{/* Nothing here depends on a value: the restricted Pod Security Standard always holds. */}}
{{- define "apono-connector.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "apono-connector.containerSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where the connector runs, for people; the cluster puts in the names. The first key is what is seen where there is little room. */}}
{{- define "apono-connector.metadata" -}}
{{- $place := dict "instance" "$(POD_NAMESPACE)/$(POD_NAME)" "node" "$(NODE_NAME)" "platform" "kubernetes" -}}
{{- merge $place .Values.apono.metadata | toJson -}}
{{- end -}}

{{/* Of the connector and of its test. The token is in no variable. */}}
{{- define "apono-connector.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: APONO_CONNECTOR_ID
  value: {{ .Values.apono.connectorId | quote }}
- name: APONO_CONFIG
  value: /etc/apono-connector/config/connector.toml
- name: CONNECTOR_METADATA
  value: {{ include "apono-connector.metadata" . | quote }}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy }}
{{- if .urlSecret.name }}
- name: HTTPS_PROXY
  valueFrom: {secretKeyRef: {name: {{ .urlSecret.name | quote }}, key: {{ .urlSecret.key | quote }}}}
{{- else if .url }}
- name: HTTPS_PROXY
  value: {{ .url | quote }}
{{- end }}
{{- if or .url .urlSecret.name }}
# The agent of EKS Pod Identity is on the node itself.
- name: NO_PROXY
  value: {{ concat (list "169.254.170.23" "fd00:ec2::23") .bypass | join "," | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The files of the connector and of its test, as (volume, folder) that both lists below are made from. */}}
{{- define "apono-connector.caVolume" -}}
- name: {{ .name }}
{{- if .from.configMap }}
  configMap:
    name: {{ .from.configMap | quote }}
    items: [{key: {{ .from.key | quote }}, path: ca.pem}]
{{- else }}
  secret:
    secretName: {{ .from.secret | quote }}
    # 0440: the connector's group, nobody else.
    defaultMode: 288
    items: [{key: {{ .from.key | quote }}, path: ca.pem}]
{{- end }}
{{- end -}}

{{- define "apono-connector.hasCa" -}}
{{- if or .configMap .secret }}true{{ end -}}
{{- end -}}

{{- define "apono-connector.vaultTokenKind" -}}
{{- if .Values.secrets.vault.url -}}
{{- if eq .Values.secrets.vault.login "kubernetes" }}projected{{ else if eq .Values.secrets.vault.login "token" }}secret{{ end -}}
{{- end -}}
{{- end -}}

{{- define "apono-connector.volumes" -}}
{{- $vaultToken := include "apono-connector.vaultTokenKind" . -}}
- name: config
  configMap:
    name: {{ include "apono-connector.fullname" . }}
- name: token
  secret:
    secretName: {{ include "apono-connector.tokenSecretName" . }}
    defaultMode: 288
    items: [{key: {{ .Values.apono.tokenSecret.key | quote }}, path: token}]
{{- if include "apono-connector.hasCa" .Values.apono.ca }}
{{ include "apono-connector.caVolume" (dict "name" "control-plane-ca" "from" .Values.apono.ca) }}
{{- end }}
{{- if include "apono-connector.hasCa" .Values.aws.rdsCa }}
{{ include "apono-connector.caVolume" (dict "name" "rds-ca" "from" .Values.aws.rdsCa) }}
{{- end }}
{{- if and .Values.secrets.vault.url (include "apono-connector.hasCa" .Values.secrets.vault.ca) }}
{{ include "apono-connector.caVolume" (dict "name" "vault-ca" "from" .Values.secrets.vault.ca) }}
{{- end }}
{{- if eq $vaultToken "secret" }}
- name: vault-token
  secret:
    secretName: {{ .Values.secrets.vault.tokenSecret.name | quote }}
    defaultMode: 288
    items: [{key: {{ .Values.secrets.vault.tokenSecret.key | quote }}, path: token}]
{{- else if eq $vaultToken "projected" }}
- name: vault-token
  projected:
    defaultMode: 288
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
          {{- with .Values.secrets.vault.audience }}
          audience: {{ . | quote }}
          {{- end }}
{{- end }}
{{- range $index, $name := .Values.secrets.mounted }}
- name: credentials-{{ $index }}
  secret:
    secretName: {{ $name | quote }}
    defaultMode: 288
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whole folders, never a subPath: a file under a subPath is not renewed when its secret is. */}}
{{- define "apono-connector.volumeMounts" -}}
- name: config
  mountPath: /etc/apono-connector/config
  readOnly: true
- name: token
  mountPath: /etc/apono-connector/token
  readOnly: true
{{- if include "apono-connector.hasCa" .Values.apono.ca }}
- name: control-plane-ca
  mountPath: /etc/apono-connector/control-plane-ca
  readOnly: true
{{- end }}
{{- if include "apono-connector.hasCa" .Values.aws.rdsCa }}
- name: rds-ca
  mountPath: /etc/apono-connector/rds-ca
  readOnly: true
{{- end }}
{{- if and .Values.secrets.vault.url (include "apono-connector.hasCa" .Values.secrets.vault.ca) }}
- name: vault-ca
  mountPath: /etc/apono-connector/vault-ca
  readOnly: true
{{- end }}
{{- if include "apono-connector.vaultTokenKind" . }}
- name: vault-token
  mountPath: /etc/apono-connector/vault-token
  readOnly: true
{{- end }}
{{- range $index, $name := .Values.secrets.mounted }}
- name: credentials-{{ $index }}
  mountPath: /etc/apono-connector/credentials/{{ $name }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
