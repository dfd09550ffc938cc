"""Django: async views beside the ORM. Django knows no lifespan; `hold.asgi` opens the store all the same.

uvicorn examples.django_app:app
"""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from holdfast import Holdfast

hold = Holdfast(os.environ.get("HOLDFAST_STORE", "sqlite:///app.db"))

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
    SECRET_KEY=os.environ.get("SECRET_KEY", "for-this-example-only"),
)
django.setup()


async def nightly(request: HttpRequest) -> JsonResponse:
    """One process at a time does the work; the others say so."""
    async with hold.persist.lock("nightly", expires=30) as fence:
        runs = await hold.persist.increment("runs")
        return JsonResponse({"runs": runs, "fence": fence})


urlpatterns = [path("nightly", nightly)]
app = hold.asgi(get_asgi_application())
