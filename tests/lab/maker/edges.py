"""The servers of a capture: nginx, caddy and haproxy in front of model servers, and model servers of their own.

Addresses, names and edges are those of the table ENDPOINTS. Every edge tells its backend who asked, in X-Real-*.
haproxy reuses no connection to a backend: of one that breaks on a reused connection it tells the client nothing.
"""
import os
import pathlib
import subprocess
import sys

# endpoint -> (address, port, name, edge, ports of the backends)
ENDPOINTS = {
    "openai": ("198.51.100.101", 443, "api.openai.test", "nginx", (9101,)),
    "anthropic": ("198.51.100.102", 443, "api.anthropic.test", "hypercorn", ()),
    "internal": ("198.51.100.103", 443, "llm.internal.test", "uvicorn", ()),
    "embed": ("198.51.100.104", 443, "embed.internal.test", "caddy", (9104,)),
    "tools": ("198.51.100.105", 443, "tools.internal.test", "haproxy", (9105,)),
    "gw": ("198.51.100.106", 443, "gw.internal.test", "nginx", (9106,)),
    "pool": ("198.51.100.107", 443, "inference.internal.test", "haproxy", (9107, 9207, 9307)),
    "plain": ("198.51.100.103", 8000, "llm.internal.test", "uvicorn", ()),
}
HERE = pathlib.Path(__file__).parent

NGINX = """daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  client_max_body_size 16m; keepalive_timeout 75s; ssl_certificate {work}/ec.pem; ssl_certificate_key {work}/ec.key; {tls}
  upstream openai {{ server 127.0.0.1:9101; keepalive 64; }}
  upstream gw {{ server 127.0.0.1:9106; keepalive 64; }}
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_read_timeout 300s; proxy_next_upstream off;
  proxy_set_header X-Real-Addr $remote_addr; proxy_set_header X-Real-Port $remote_port; proxy_set_header X-Real-Proto $server_protocol;
  server {{ listen 198.51.100.101:443 ssl http2; server_name api.openai.test; location / {{ proxy_pass http://openai; proxy_buffering off; }} }}
  server {{ listen 198.51.100.106:443 ssl http2; server_name gw.internal.test; gzip on; gzip_min_length 200; gzip_types application/json text/event-stream text/html;
    location / {{ proxy_pass http://gw; proxy_buffering on; }} }}
}}
"""
CADDY = """{{
  admin off
  auto_https off
  storage file_system {work}/caddy
  servers {{
    protocols h1 h2
  }}
}}
https://embed.internal.test {{
  bind 198.51.100.104
  tls {work}/ec.pem {work}/ec.key {tls}
  reverse_proxy 127.0.0.1:9104 {{
    flush_interval -1
    header_up X-Real-Addr {{http.request.remote.host}}
    header_up X-Real-Port {{http.request.remote.port}}
    header_up X-Real-Proto {{http.request.proto}}
  }}
}}
"""
HAPROXY = """global
  maxconn 2000
{tls}
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 75s
  option abortonclose
  retries 0
{proxies}"""
PROXY = """frontend {ep}
  bind {address}:443 ssl crt {work}/ec.both alpn h2,http/1.1
  http-request set-header X-Real-Addr %[src]
  http-request set-header X-Real-Port %[src_port]
  http-request set-header X-Real-Proto %[req.ver]
  default_backend {ep}
backend {ep}
  balance roundrobin
  http-reuse never
{servers}
"""
OPENSSL = """openssl_conf = top
[top]
ssl_conf = ssl
[ssl]
system_default = bounds
[bounds]
MaxProtocol = TLSv1.2
"""


def certificates(work):
    """An authority, and certificates of two kinds of key for all names."""
    names = ",".join("DNS:" + name for name in sorted({e[2] for e in ENDPOINTS.values()}))
    run = lambda *words: subprocess.run(["openssl", *words], check=True, cwd=work, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj",
        "/CN=Fermata lab CA",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for kind, key in (("ec", ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")), ("rsa", ("rsa:2048",))):
        run("req", "-newkey", *key, "-nodes", "-keyout", kind + ".key", "-out", kind + ".csr", "-subj", "/CN=lab")
        (work / "ext").write_text("subjectAltName=%s\nextendedKeyUsage=serverAuth\n" % names)
        run("x509", "-req", "-in", kind + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
            "-extfile", "ext", "-out", kind + ".crt")
        (work / (kind + ".pem")).write_text((work / (kind + ".crt")).read_text() + (work / "ca.pem").read_text())
        (work / (kind + ".both")).write_text((work / (kind + ".pem")).read_text() + (work / (kind + ".key")).read_text())


def configure(work, tls):
    """Writes the configuration of the edges."""
    old, ciphers = tls.get("max") == "1.2", tls.get("ciphers", "")
    bounds = "ssl_protocols TLSv1.2; ssl_ciphers %s;" % ciphers if old else "ssl_protocols TLSv1.2 TLSv1.3;"
    (work / "nginx.conf").write_text(NGINX.format(work=work, tls=bounds))
    suite = "CHACHA20_POLY1305_SHA256" if "CHACHA20" in ciphers else "AES_128_GCM_SHA256"
    caddy = "{\n    protocols tls1.2 tls1.2\n    ciphers TLS_ECDHE_ECDSA_WITH_%s\n  }" % suite if old else ""
    (work / "Caddyfile").write_text(CADDY.format(work=work, tls=caddy))
    proxies = ""
    for ep, (address, _, _, edge, backends) in ENDPOINTS.items():
        if edge == "haproxy":
            servers = "\n".join("  server b%d 127.0.0.1:%d" % (n, port) for n, port in enumerate(backends))
            proxies += PROXY.format(ep=ep, address=address, work=work, servers=servers)
    bounds = "  ssl-default-bind-options ssl-max-ver TLSv1.2\n  ssl-default-bind-ciphers %s" % ciphers if old else ""
    (work / "haproxy.cfg").write_text(HAPROXY.format(proxies=proxies, tls=bounds))
    (work / "openssl.cnf").write_text(OPENSSL + "CipherString = %s\n" % tls.get("python", "DEFAULT"))


def commands(work, tls):
    """-> [(name, command, environment)] of every process, in the order of their start"""
    python = str(pathlib.Path(sys.executable).parent)
    out = []

    def model(name, ep, command, backend=0):
        env = dict(MODEL_PLAN=str(work / "plan.json"), MODEL_EP=ep, MODEL_BACKEND=str(backend),
                   MODEL_LOG=str(work / ("model.%s.jsonl" % name)))
        if tls.get("max") == "1.2":
            env["OPENSSL_CONF"] = str(work / "openssl.cnf")
        out.append((name, command, env))

    for ep, (address, port, _, edge, backends) in ENDPOINTS.items():
        for n, at in enumerate(backends):
            model("%s%d" % (ep, n), ep,
                  [python + "/uvicorn", "model:app", "--host", "127.0.0.1", "--port", str(at), *UVICORN], n)
        if edge == "uvicorn":
            secret = ["--ssl-certfile", str(work / "rsa.pem"), "--ssl-keyfile",
                      str(work / "rsa.key")] if port == 443 else []
            model(ep, ep, [python + "/uvicorn", "model:app", "--host", address, "--port", str(port), *UVICORN, *secret])
        elif edge == "hypercorn":
            model(ep, ep,
                  [python + "/hypercorn", "model:app", "--bind", "%s:%d" % (address, port), "--certfile",
                   str(work / "rsa.pem"), "--keyfile", str(work / "rsa.key"), "--keep-alive", "75"])
    out.append(("nginx", ["nginx", "-p", str(work), "-c", str(work / "nginx.conf")], {}))
    out.append(("caddy", ["caddy", "run", "--config", str(work / "Caddyfile"), "--adapter", "caddyfile"],
                {"HOME": str(work), "XDG_DATA_HOME": str(work), "XDG_CONFIG_HOME": str(work)}))
    out.append(("haproxy", ["haproxy", "-db", "-f", str(work / "haproxy.cfg")], {}))
    return [(name, command, {**os.environ, **env, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}) for name,
            command, env in out]


UVICORN = ("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75", "--no-server-header")
