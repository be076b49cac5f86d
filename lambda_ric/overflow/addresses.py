"""
Where a queue or a function is: its URL, its region, its ARN.
"""

from __future__ import annotations

from lambda_ric.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html, and those of botocore's
# partitions.json, by the beginnings of their regions.
_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-iso-": "aws-iso",
    "us-isob-": "aws-iso-b",
    "eu-isoe-": "aws-iso-e",
    "us-isof-": "aws-iso-f",
    "eusc-": "aws-eusc",
}
# The domains of those that are not under amazonaws.com.
_DOMAINS = {
    "aws-cn": "amazonaws.com.cn",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
    "aws-eusc": "amazonaws.eu",
}


def partition_of(region: str) -> str:
    """Return the partition that *region* belongs to, as ARNs name it."""
    return next((partition for start, partition in _PARTITIONS.items() if region.startswith(start)), "aws")


def domain_of(region: str) -> str:
    """Return the domain that the services of *region* have their names under."""
    return _DOMAINS.get(partition_of(region), "amazonaws.com")


def region_of(given: str | None, found: str | None, environ: Mapping[str, str]) -> str:
    """
    Return the region *given*, else the one *found* in a name, else that of the environment.

    Raises:
        ConfigurationError: There is none, or it cannot be the name of one.
    """
    region = given or found or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise ConfigurationError("the AWS region is not known: set AWS_REGION, or give it as region=")
    if not (isinstance(region, str) and region.isascii() and region.replace("-", "").isalnum()):
        raise ConfigurationError(f"{region!r} is not an AWS region such as eu-west-1")
    return region


def endpoint_of(service: str, given: str | None, default: str, environ: Mapping[str, str]) -> str:
    """
    Return the endpoint *given*, else that of the environment, else *default*.

    Raises:
        ConfigurationError: It is no URL.
    """
    ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    names = () if ignored else (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
    configured = [environ[name] for name in names if environ.get(name)]
    return checked_url(f"the endpoint of {service}", given or [*configured, default][0])


def checked_url(what: str, url: str) -> str:
    """
    Return *url*.

    Raises:
        ConfigurationError: It is none, or has parts that it must not have; the text begins with *what*.
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"{what} is empty: is the variable set that it comes from?")
    if "@" in url:
        raise ConfigurationError(f"{what} has an '@': credentials do not belong there")
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    port = host.rpartition("]")[2].partition(":")[2] or "443"
    if (
        scheme not in ("http", "https")
        or host[:1] in ("", ":")
        or not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536)
        or not (url.isascii() and url.isprintable())
        or any(character in ' "<>?#\\' for character in url)
    ):
        raise ConfigurationError(f"{what}, {url!r}, is not a URL such as https://sqs.eu-west-1.amazonaws.com")
    return url
