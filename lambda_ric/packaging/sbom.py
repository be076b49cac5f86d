"""
What is in a package, as a bill of materials: CycloneDX 1.6, for those who look for known weaknesses and licences.

It has the time and the number of no build, but those of its content: the same package has the same bill.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lambda_ric.version import __version__

from .package import Package

# pyright does not see through the class decorator of the library, which keeps the parameters as they are.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportArgumentType=false

_NAMESPACE = uuid.UUID("5c6a3f0e-6a0e-4d0c-9d5f-6f3d2f0c8a11")


def bill_of(package: Package, content: str) -> str:
    """Return the bill of *package*, whose content has the digest *content*, as JSON."""
    project = package.order.project
    function = Component(
        type=ComponentType.APPLICATION,
        name=project.name,
        version=str(project.pyproject.get("project", {}).get("version") or content[:12]),
        bom_ref="function",
    )
    bom = Bom(
        metadata=BomMetaData(component=function, timestamp=datetime(1980, 1, 1, tzinfo=UTC)),
        serial_number=uuid.uuid5(_NAMESPACE, content),
    )
    parts = [_library("lambda-ric", __version__, "Apache-2.0")]
    parts += [_library(part.name, part.version, part.licence) for part in package.distributions]
    if package.interpreter is not None:
        parts.append(
            Component(
                type=ComponentType.PLATFORM,
                name="cpython",
                version=package.interpreter.version,
                purl=PackageURL("generic", None, "cpython", package.interpreter.version),
                bom_ref="cpython",
            )
        )
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(function, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _library(name: str, version: str, licence: str) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        purl=PackageURL("pypi", None, name, version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
        bom_ref=f"{name}@{version}",
    )
