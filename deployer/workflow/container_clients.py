"""`connect` for clients that usually run in a container of their own: how they reach a server on the same machine."""

from deployer.workflow.endpoint import HOST_GATEWAY, Endpoint


def n8n(found: Endpoint) -> str:
    """Text for n8n."""
    return f"""
n8n, credential "OpenAI":
  Base URL  {_url(found)}
  API Key   {_key(found)}
then choose the model {found.model}.

{_reach(found, "n8n", "n8n")}
"""


def openwebui(found: Endpoint) -> str:
    """Text for Open WebUI."""
    return f"""
Open WebUI, Admin Panel > Settings > Connections > OpenAI API:
  URL      {_url(found)}
  API Key  {_key(found)}
the model is {found.model}.

{_reach(found, "open-webui", "Open WebUI")}
"""


def _url(found: Endpoint) -> str:
    return found.container_base_url or found.base_url


def _key(found: Endpoint) -> str:
    return "any text: it asks for none" if found.key_file is None else f"the content of {found.key_file}"


def _reach(found: Endpoint, service: str, title: str) -> str:
    """How a container of this machine gets there; the first way that is true."""
    if found.network is not None:
        return _by_network(found, service, title, found.network)
    if found.container_base_url is None:
        return _not_at_all(found, title)
    if HOST_GATEWAY in found.container_base_url:
        return _by_gateway(found, service, title)
    return f"{title} reaches it there from a container as from anywhere else. {_no_tls(found)}".rstrip()


def _by_network(found: Endpoint, service: str, title: str, network: str) -> str:
    return f"""
That URL is for a container on this machine that has joined the server's network. For {title} as it runs now:

  docker network connect {network} {service}

For good, in its compose.yaml (and `--network {network}` where it is made by `docker run`):

  services:
    {service}:
      networks: [default, {found.name}]
  networks:
    {found.name}:
      name: {network}
      external: true

Bring the server up first: its network comes with it, and stays while a running container is in it.
{title} without a container uses {found.base_url}. {_elsewhere(found)}
""".strip()


def _not_at_all(found: Endpoint, title: str) -> str:
    other = (
        "or let the server listen on an address that containers reach"
        if found.adopted
        else f"or bring the server up in a container: deployer up ... --name {found.name} --runtime compose"
    )
    return f"""
The server listens on this machine's loopback only. {title} without a container reaches it; from a container it cannot
be reached: {HOST_GATEWAY} leads to the host's side of Docker's bridge, and to its loopback only with Docker Desktop
(then the URL is {found.base_url.replace("127.0.0.1", HOST_GATEWAY).replace("localhost", HOST_GATEWAY)}).
On Linux let {title} use the host's network (`docker run --network host`, or `network_mode: host`),
{other}.
""".strip()


def _by_gateway(found: Endpoint, service: str, title: str) -> str:
    return f"""
That URL is for a container on this machine that was made with `--add-host {HOST_GATEWAY}:host-gateway`;
in compose.yaml:

  services:
    {service}:
      extra_hosts: ["{HOST_GATEWAY}:host-gateway"]

{title} without a container uses {found.base_url}. {_elsewhere(found)}
""".strip()


def _elsewhere(found: Endpoint) -> str:
    if found.loopback:
        return "From a laptop: deployer connect --for ssh."
    return f"From another machine, put this host's name for the address. {_no_tls(found)}"


def _no_tls(found: Endpoint) -> str:
    if found.base_url.startswith("https://"):
        return ""
    return "There is no TLS: keep it inside your network."
