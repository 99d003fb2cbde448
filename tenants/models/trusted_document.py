"""GraphQL documents that a tenant has registered, known by the hash of their text."""

from django.db import models

from tenants.models.tenant import Tenant


class TrustedDocument(models.Model):
    """One document of one tenant. Its text never changes: another text has another hash, and is another document."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="trusted_documents")
    sha256 = models.CharField("SHA-256", max_length=64, editable=False, help_text="Of the text, in hexadecimal.")
    name = models.CharField(max_length=100, help_text="For people, such as the page or program that sends it.")
    text = models.TextField(help_text="The GraphQL document, exactly as its program knows it.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tenant", "name"]
        constraints = [models.UniqueConstraint(fields=["tenant", "sha256"], name="one_trusted_document_a_text")]

    def __str__(self) -> str:
        return f"{self.name} (sha256:{self.sha256[:12]}…)"
