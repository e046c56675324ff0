"""HAProxy as a user would put it there: it ends TLS, knows how many requests a server takes and queues the others, drops
those whose client left, takes a server out that fails, and refuses a client that asks too much.
"""
import subprocess

CONFIG = """global
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 30s
  timeout http-keep-alive 75s
  option abortonclose
  option redispatch
  retries 2
frontend inference
{binds}
  stick-table type ip size 10k expire 30s store http_req_rate(10s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {requests_10s} }}
  default_backend models
backend models
  balance leastconn
  default-server maxconn {maxconn} check observe layer7 error-limit 5 on-error mark-down inter 1s
{servers}
"""


def configure(work, scenario, addresses, ports):
    """Writes the configuration; HAProxy checks it."""
    binds = "\n".join("  bind %s:443 ssl crt %s/lab.both alpn http/1.1" % (a, work) for a in addresses)
    servers = "\n".join("  server r%d 127.0.0.1:%d" % (n, port) for n, port in enumerate(ports))
    (work / "haproxy.cfg").write_text(CONFIG.format(binds=binds, servers=servers, **scenario["proxy"]))
    subprocess.run(["haproxy", "-c", "-q", "-f", str(work / "haproxy.cfg")], check=True, cwd=work)


def command(work):
    return ["haproxy", "-db", "-f", str(work / "haproxy.cfg")]
