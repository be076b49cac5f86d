"""Django's own admin, and an API of django-ninja's, over one database."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{os.environ['JOB_DIRECTORY']}/shop.db"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "ninja",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    # The slow ones are meant to be.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of the tests",
    STATIC_URL="/static/",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402 - these have tables, and so want the settings
from django.contrib.auth.models import Group, User  # noqa: E402
from ninja import NinjaAPI, Schema  # noqa: E402

call_command("migrate", verbosity=0)
User.objects.create_superuser("zoe", "zoe@example.org", "secret")
api = NinjaAPI()


class NewGroup(Schema):
    name: str


@api.get("/groups")
def groups(request: object, search: str = "") -> list[str]:
    return list(Group.objects.filter(name__contains=search).values_list("name", flat=True))


@api.post("/groups", response={201: NewGroup})
def add(request: object, group: NewGroup) -> tuple[int, NewGroup]:
    Group.objects.create(name=group.name)
    return 201, group


urlpatterns = [path("admin/", admin.site.urls), path("api/", api.urls)]
app = get_asgi_application()
wsgi_app = get_wsgi_application()
